import subprocess
import sys


def test_importing_loads_neither_torch_nor_scipy():
    code = "import sys, nas_search; print({'torch', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
