import subprocess
import sys


def test_importing_loads_neither_torch_nor_scipy():
    code = "import sys, nas_search; print({'torch', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_without_torch_a_person_is_told_how_to_install_it():
    code = "import sys; sys.modules['torch'] = None; import nas_search.rl"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: nas_search.rl needs the package torch, which is not installed; run "
        "`pip install 'nas-search[rl]'`"
    )
