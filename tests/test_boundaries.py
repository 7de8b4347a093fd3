"""The borders between the packages: who imports whom, what is declared, what loads torch."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = Path(__file__).parents[1] / "packages"

# What each package may import of the others.
MAY_IMPORT = {
    "nas_spaces": set(),
    "nas_hw": {"nas_spaces"},
    "nas_samplers": {"nas_spaces"},
    "nas_search": {"nas_spaces"},
    "nas_cli": {"nas_spaces", "nas_hw", "nas_samplers", "nas_search"},
}
# Distributions that are called otherwise than what they are imported as.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "tomli_w": "tomli-w"}


def folder(package):
    return PACKAGES / package.replace("_", "-")


def imports(path):
    """Top-level names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def all_imports(package):
    return {
        (path.relative_to(PACKAGES).as_posix(), name)
        for path in (folder(package) / "src").rglob("*.py")
        for name in imports(path)
    }


def project(package):
    return tomllib.loads((folder(package) / "pyproject.toml").read_text())["project"]


def requirements(package, *, extras):
    declared = list(project(package)["dependencies"])
    if extras:
        for more in project(package).get("optional-dependencies", {}).values():
            declared += more
    return [Requirement(text) for text in declared]


def test_there_are_five_packages():
    assert {path.name for path in PACKAGES.iterdir() if path.is_dir()} == {
        package.replace("_", "-") for package in MAY_IMPORT
    }


def test_the_scan_sees_imports_wherever_they_stand(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import a.b as c\ndef f():\n    from d.e import g\n    from . import h\n")
    assert imports(path) == {"a", "d"}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_those_below_them(package):
    allowed = MAY_IMPORT[package] | {package}
    found = all_imports(package)
    assert found
    assert {(path, name) for path, name in found if name in MAY_IMPORT.keys() - allowed} == set()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_what_is_imported_is_declared(package):
    declared = {canonicalize_name(r.name) for r in requirements(package, extras=True)}
    undeclared = {
        (path, name)
        for path, name in all_imports(package)
        if name not in sys.stdlib_module_names
        and name != package
        and canonicalize_name(DISTRIBUTIONS.get(name, name)) not in declared
    }
    assert undeclared == set()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_tests_of_a_package_import_none_of_its_neighbours(package):
    allowed = MAY_IMPORT[package] | {package}
    files = [*folder(package).glob("tests/**/*.py"), *folder(package).glob("benchmarks/*.py")]
    assert files
    for path in files:
        assert imports(path) & MAY_IMPORT.keys() <= allowed, path


def test_torch_stands_only_where_it_is_an_extra():
    for package in ("nas_spaces", "nas_hw", "nas_search"):
        needed = {canonicalize_name(r.name) for r in requirements(package, extras=False)}
        assert "torch" not in needed
    for package, place in (
        ("nas_spaces", "nas-spaces/src/nas_spaces/torch/"),
        ("nas_search", "nas-search/src/nas_search/rl/"),
    ):
        users = {path for path, name in all_imports(package) if name == "torch"}
        assert users
        assert all(path.startswith(place) for path in users)


@pytest.mark.parametrize(
    "module", ["nas_spaces", "nas_spaces.testing", "nas_spaces.published", "nas_hw", "nas_search"]
)
def test_importing_does_not_load_torch(module, tmp_path):
    # A torch that can always be imported, so that the test also holds where none is installed.
    (tmp_path / "torch.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {module}; "
    code += "print('torch' in sys.modules, end=' '); import torch; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_siblings_are_required_by_a_range_that_holds_their_version(package):
    siblings = {
        r.name.replace("-", "_"): r
        for r in requirements(package, extras=True)
        if r.name.replace("-", "_") in MAY_IMPORT
    }
    assert siblings.keys() == MAY_IMPORT[package]
    for name, requirement in siblings.items():
        assert {spec.operator for spec in requirement.specifier} == {">=", "<"}
        assert requirement.specifier.contains(project(name)["version"])


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_has_its_parts(package):
    for part in ("README.md", "CHANGELOG.md", f"src/{package}/py.typed"):
        assert (folder(package) / part).is_file()
    assert list(folder(package).glob("tests/**/test_*.py"))
    assert list(folder(package).glob("benchmarks/test_*.py"))
    assert project(package)["requires-python"] == ">=3.11"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_every_requirement_has_a_lowest_version(package):
    # The session "lowest" of the noxfile tests with these.
    for requirement in requirements(package, extras=True):
        assert ">=" in {spec.operator for spec in requirement.specifier}, requirement


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_changelog_names_the_version_and_the_readme_says_how_to_install(package):
    changes = (folder(package) / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (\S+)", changes, flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == project(package)["version"]
    readme = (folder(package) / "README.md").read_text()
    assert f"./packages/{folder(package).name}" in readme


def test_the_readme_begins_with_the_two_lines_of_set_up():
    readme = (PACKAGES.parent / "README.md").read_text()
    commands = re.findall(r"^    (pip install .*)$", readme, flags=re.MULTILINE)
    order = ["spaces", "hw", "samplers", "search", "cli"]
    paths = " ".join(f"./packages/nas-{name}" for name in order)
    assert commands[:2] == [f"pip install {paths} && nas pipeline", "pip install 'nox[uv]' && nox"]
