import sys
import textwrap

import pytest

from nas_cli.module_spaces import is_module
from nas_cli.run_spaces import stored_space
from nas_cli.spaces import describe, load_space
from nas_spaces import InputError, published, to_json

PLAIN = """
    from nas_spaces import Block, Choice, SearchSpace
    from nas_spaces.layers import Classifier, Conv

    def blocks(classes):
        return (
            Block("stem", [Conv(8, 3, stride=2)]),
            Block("conv", [Conv(8, 3), Conv(8, 5)], reads=("kernel",)),
            Block("head", [Classifier(classes)]),
        )

    def space(*, classes=10, resolution=8, in_channels=1):
        shape = (in_channels, resolution, resolution)
        return SearchSpace("plain", shape, (Choice("kernel", (3, 5)),), blocks(classes))

    fixed = space(classes=3)
"""

OWN_LAYER = """
    import attrs
    from nas_spaces import Block, Choice, SearchSpace
    from nas_spaces.layers import Classifier, Conv
    from nas_spaces.primitives import GraphBuilder

    @attrs.frozen
    class NAME:
        channels: int

        def graph(self, shape):
            build = GraphBuilder(shape)
            build.convolution("conv", "input", self.channels, kernel=3)
            return build.graph

    def space(classes=10):
        return SearchSpace(
            "own", (1, 8, 8), (Choice("width", (4, 6)),),
            (
                Block("stem", [NAME(4), NAME(6)], reads=("width",)),
                Block("conv", [Conv(8, 3)]),
                Block("head", [Classifier(classes)]),
            ),
        )
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the current folder: ``module(name, code)``."""
    monkeypatch.chdir(tmp_path)
    # What is written again within a second, as long as before, looks compiled already.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(name, code):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        return name

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_published_and_file(tmp_path):
    space = published.load("digits-mobile", classes=4)
    path = tmp_path / "own.json"
    path.write_text(to_json(space))
    assert load_space(str(path)) == space
    assert load_space("digits-mobile").num_classes == 10


@pytest.mark.parametrize("content", [b"{}", b"[", b"\xff\xfe"])
def test_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "own.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"own\.json"):
        load_space(str(path))


def test_every_published_space_is_described_in_a_line():
    for name in (*published.SPACES, *published.NETWORKS):
        text = describe(name)
        assert text
        assert "\n" not in text
    assert describe("nas-bench-201-reduce-1") == "nas-bench-201 without nor_conv_1x1"


def test_a_function_gets_the_options_that_it_names(module):
    module("plain", PLAIN)
    assert load_space("plain:space").input_shape == (1, 8, 8)
    other = load_space("plain:space", classes=4, resolution=16, in_channels=3)
    assert (other.input_shape, other.num_classes) == ((3, 16, 16), 4)
    module("own_layer", OWN_LAYER.replace("NAME", "Plain"))
    other = load_space("own_layer:space", classes=4, resolution=16, in_channels=3)
    assert (other.input_shape, other.num_classes) == ((1, 8, 8), 4)


def test_a_space_that_is_no_function_is_what_it_is(module):
    module("plain2", PLAIN)
    space = load_space("plain2:fixed", classes=4, resolution=16, in_channels=3)
    assert (space.input_shape, space.num_classes) == ((1, 8, 8), 3)


def test_a_module_in_a_package(module, tmp_path):
    (tmp_path / "some_package").mkdir()
    module("some_package/inner", PLAIN)
    assert load_space("some_package.inner:space").name == "plain"


def test_the_path_of_modules_is_left_as_it_was(module, tmp_path):
    module("plain3", PLAIN)
    before = list(sys.path)
    load_space("plain3:space")
    assert sys.path == before
    with pytest.raises(InputError):
        load_space("not_there_at_all:space")
    assert sys.path == before


def test_a_function_may_import_from_the_folder_and_print(module, capsys):
    module("helper5", PLAIN)
    module(
        "late5", "def space():\n    import helper5\n    print('hello')\n    return helper5.fixed"
    )
    assert load_space("late5:space").num_classes == 3
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent_module:space", "there is no module 'absent_module' in "),
        ("absent.inner:space", "there is no module 'absent' in "),
        ("bad:spce", "bad.py) has no 'spce': did you mean 'space'?"),
        ("json:space", "__init__.py) has no 'space': valid: "),
        ("bad:leaves", "calling it with () raised SystemExit: 3 ("),
        ("bad:number", "number is an int; it must be a nas_spaces.SearchSpace, or a function"),
        ("bad:gives_none", "gives_none returns a NoneType; it must be"),
        ("bad:needs", "argument 'depth' has no default; give it one"),
        ("bad:fails", "calling it with (classes=4) raised KeyError: 'width' ("),
        ("bad:fails", "bad.py, line 13)"),
        ("bad:wrong", "space bad:wrong: block 'conv' has 1 layers; the choices it reads have 2"),
        ("raises:space", "importing raises raised ZeroDivisionError: division by zero ("),
        ("raises:space", "raises.py, line 4)"),
        ("leaves:space", "importing leaves raised SystemExit: 3 ("),
        ("needs_other:space", "raised ModuleNotFoundError: No module named 'absent_other' ("),
        ("no_python:space", "importing no_python raised SyntaxError: "),
        ("no_python:space", "no_python.py, line 2)"),
        ("bad.py:space", "write it as module:attribute, like mymodule:space"),
        ("some/bad:space", "write it as module:attribute"),
        ("bad:", "write it as module:attribute"),
        (":space", "write it as module:attribute"),
        ("bad:space:more", "write it as module:attribute"),
        ("bad:space()", "write it as module:attribute"),
        ("same_name:space", "its layer MBConv has the name of a layer of nas_spaces; give"),
    ],
)
def test_what_is_wrong_is_named(module, name, says):
    module(
        "bad",
        """
        from nas_spaces import Block, Choice, SearchSpace
        from nas_spaces.layers import Conv

        number = 3
        def space(): pass
        def gives_none(): pass
        def needs(depth): pass
        def fails(classes):
            return later()
        fails.__defaults__ = (10,)
        def later():
            return {}["width"]
        def leaves():
            raise SystemExit(3)
        def wrong():
            blocks = [Block("conv", [Conv(8, 3)], reads=("k",))]
            return SearchSpace("x", (1, 8, 8), [Choice("k", (1, 2))], blocks)
        """,
    )
    module("raises", "\n\n\nspace = 1 / 0\n")
    module("leaves", "raise SystemExit(3)")
    module("needs_other", "import absent_other")
    module("no_python", "x = 1\nspace = = 3\n")
    module("same_name", OWN_LAYER.replace("NAME", "MBConv"))
    with pytest.raises(InputError) as caught:
        load_space(name, classes=4, resolution=8, in_channels=1)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_of_files_are_no_modules():
    assert is_module("mine:space")
    assert not is_module("digits-mobile")
    assert not is_module("C:/mine.json")


@pytest.fixture
def run(tmp_path):
    """Write what a run is begun with: ``run(space)``."""

    def write(space):
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "space.json").write_text(to_json(space))
        classes = ", ".join(f'"{i}"' for i in range(space.num_classes))
        (folder / "data.json").write_text(f'{{"classes": [{classes}]}}')
        return folder

    return write


def test_a_run_keeps_the_space_that_it_was_begun_with(module, run, tmp_path):
    name = module("plain4", PLAIN)
    space = load_space("plain4:space", classes=4)
    folder = run(space)
    (tmp_path / "plain4.py").unlink()
    del sys.modules[name]
    assert stored_space(folder, "plain4:space") == space


def test_layers_of_ones_own_need_their_module(module, run, tmp_path):
    name = module("own2", OWN_LAYER.replace("NAME", "Plain"))
    space = load_space("own2:space", classes=4)
    folder = run(space)
    assert stored_space(folder, "own2:space") == space
    del sys.modules[name]
    module("own2", OWN_LAYER.replace("NAME", "Plain").replace("(4, 6)", "(4, 8)"))
    with pytest.raises(InputError, match=r"is not the one that .*run was begun with"):
        stored_space(folder, "own2:space")
    (tmp_path / "own2.py").unlink()
    sys.modules.pop(name, None)
    with pytest.raises(InputError, match="there is no module 'own2'"):
        stored_space(folder, "own2:space")


def test_damaged_files_of_a_run(module, run):
    module("own3", OWN_LAYER.replace("NAME", "Plain"))
    folder = run(load_space("own3:space"))
    (folder / "data.json").write_text("{}")
    with pytest.raises(InputError, match=r"data\.json is damaged"):
        stored_space(folder, "own3:space")
    (folder / "space.json").write_text("{}")
    with pytest.raises(InputError, match=r"space\.json: this JSON is no search space"):
        stored_space(folder, "digits-mobile")
    (folder / "space.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"space\.json is damaged"):
        stored_space(folder, "digits-mobile")
    (folder / "space.json").unlink()
    with pytest.raises(InputError, match=r"space\.json is missing"):
        stored_space(folder, "digits-mobile")
