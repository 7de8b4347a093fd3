"""What must pass before a change is done; `nox` alone runs everything that is not marked slow.

nox -l                          the sessions
nox -s "tests(nas-search)"      one package
nox -s "tests(nas-search)" -- -k evolution
"""

import os
import re
import shlex
import shutil
import time
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"

ROOT = Path(__file__).parent
PACKAGES = ("nas-spaces", "nas-hw", "nas-samplers", "nas-search", "nas-cli")
# Extras with code of their own: tests/EXTRA and src/MODULE/EXTRA need them, the rest does not.
EXTRAS = {"nas-spaces": "torch", "nas-samplers": "ray", "nas-search": "rl", "nas-cli": "ray"}
VARIANTS = tuple(
    variant
    for package in PACKAGES
    for variant in (package, *([f"{package}[{EXTRAS[package]}]"] if package in EXTRAS else []))
)
# Each process would start a cluster of its own, or loads torch for seconds of tests; the others run
# in a process for each core.
ONE_PROCESS = ("nas-search[rl]", "nas-samplers[ray]", "nas-cli[ray]")
PARALLEL = tuple(variant for variant in VARIANTS if variant not in ONE_PROCESS)
# No example, of a README or a docstring, needs what these install: nothing of them runs twice.
NO_EXAMPLES = ("nas-samplers[ray]", "nas-cli[ray]")
# Pinned, so that a new release of a tool fails nobody's change.
RUFF = "ruff==0.17.6"
MYPY = "mypy==2.4.1"

# Where it is set, each of dozens of processes compiles all of torch again: 10 seconds every time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Beside the environments, one of which is called "wheels" itself.
WHEELS = ROOT / ".nox" / ".cache" / "wheels"


@nox.session(default=False)
def wheels(session: nox.Session) -> None:
    """Build the five wheels that the other sessions install."""
    session.install("hatchling")
    shutil.rmtree(WHEELS, ignore_errors=True)
    for package in PACKAGES:
        with session.chdir(ROOT / "packages" / package):
            session.run("python", "-m", "hatchling", "build", "-t", "wheel", "-d", str(WHEELS))


@nox.session(requires=["wheels"])
@nox.parametrize("package", VARIANTS, ids=VARIANTS)
def tests(session: nox.Session, package: str) -> None:
    """Test one package from its wheel: only what it declares is installed."""
    name = install(session, package)
    parallel = ["--numprocesses=auto"] if package in PARALLEL else []
    # Processes beside each other have one thread each.
    env = {"OMP_NUM_THREADS": "1"} if parallel else {}
    session.run(*pytest(*parallel, *tests_of(package)), *session.posargs, env=env)
    if not session.posargs and package not in NO_EXAMPLES:
        extra = EXTRAS.get(package)
        session.run(
            *pytest("--pyargs", module(name), "--doctest-modules"),
            *([f"--ignore-glob=*/{package.replace('-', '_')}/{extra}/*"] if extra else []),
        )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting of everything."""
    session.install(RUFF)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(requires=["wheels"])
def types(session: nox.Session) -> None:
    """Check the types of all five packages, strictly."""
    install(session, "nas-cli")
    session.install(MYPY)
    session.run("mypy", *(f"packages/{package}/src" for package in PACKAGES))


@nox.session(requires=["wheels"])
def boundaries(session: nox.Session) -> None:
    """Check who imports whom, and that nothing loads torch that should not."""
    without_torch = ("nas-spaces", "nas-hw", "nas-search")
    session.install(*map(wheel, without_torch), *test_group("nas-spaces"))
    session.run(*pytest("tests"), *session.posargs)


@nox.session
def pipeline(session: nox.Session) -> None:
    """Do what the README says to a new user, in an empty folder, down to the report.

    Installs what the first line installs and runs its command, then, in the same folder, every
    other line of the README's code that begins with `nas`.
    """
    first, *others = readme_commands()
    installing, command = (part.strip() for part in first.split("&&"))
    session.install(*shlex.split(installing.removeprefix("pip install ")))
    with session.chdir(session.create_tmp()):
        shutil.rmtree("runs", ignore_errors=True)
        session.run(*shlex.split(command))
        for other in others:
            session.run(*shlex.split(other))
        reports = sorted(Path.cwd().glob("runs/*/report.html"))
        if not reports:
            session.error(f"{command!r} wrote no runs/*/report.html")


@nox.session(default=False, requires=["wheels"])
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def benchmarks(session: nox.Session, package: str) -> None:
    """Measure one package (all of them: `nox -s benchmarks`)."""
    # Benchmarks include what an extra brings.
    install(session, f"{package}[{EXTRAS[package]}]" if package in EXTRAS else package)
    if package == "nas-search":
        session.install("pymoo")  # what non-dominated sorting is measured against
    columns = "--benchmark-columns=min,median,iqr,rounds"
    session.run(*pytest(f"packages/{package}/benchmarks"), columns, "-s", *session.posargs)


@nox.session(default=False, requires=["wheels"])
def methods(session: nox.Session) -> None:
    """Run every method at its full default on digits, down to the report.

    Names after the dashes run those alone: `nox -s methods -- fairnas ponas`.
    """
    install(session, "nas-cli")
    listing = "from nas_cli.recipes import RECIPES; print(*RECIPES)"
    known = session.run("python", "-c", listing, silent=True).split()
    with session.chdir(session.create_tmp()):
        shutil.rmtree("runs", ignore_errors=True)
        for method in session.posargs or known:
            begun = time.monotonic()
            session.run("nas", "pipeline", "--method", method, "--out", f"runs/{method}")
            session.log(f"{method}: {time.monotonic() - begun:.0f} s")
            if not Path("runs", method, "report.html").exists():
                session.error(f"method {method} wrote no report")


@nox.session(default=False, requires=["wheels"], venv_backend="uv")
@nox.parametrize("package", VARIANTS, ids=VARIANTS)
def lowest(session: nox.Session, package: str) -> None:
    """Test one package with the lowest versions of its dependencies that it allows."""
    # Naming what the package declares makes it direct, and so the lowest.
    name, _, extra = package.rstrip("]").partition("[")
    declared = project(name)["project"]
    direct = [*declared["dependencies"], *declared.get("optional-dependencies", {}).get(extra, [])]
    others = [requirement for requirement in direct if not requirement.startswith("nas-")]
    install(session, package, "--resolution", "lowest-direct", *others)
    session.run(*pytest(*tests_of(package)), *session.posargs)


def install(session: nox.Session, package: str, *options: str) -> str:
    """Install the wheel of ``package`` (extras allowed) with its test group; return its name.

    The wheels of its siblings are named too, so that no index is asked for them.
    """
    name, _, extras = package.partition("[")
    siblings = [wheel(sibling) for sibling in sorted(siblings_of(name))]
    itself = f"{name}[{extras} @ {wheel(name)}" if extras else wheel(name)
    session.install(*options, itself, *siblings, *test_group(name))
    return name


def tests_of(package: str) -> tuple[str, ...]:
    """Return what pytest is to run for a package or variant."""
    name, _, extra = package.rstrip("]").partition("[")
    tests = f"packages/{name}/tests"
    if extra:
        readme = [] if package in NO_EXAMPLES else [f"{tests}/test_readme.py"]
        return f"{tests}/{extra}", *readme
    if package in EXTRAS:
        return tests, f"--ignore={tests}/{EXTRAS[package]}"
    return (tests,)


def siblings_of(package: str) -> set[str]:
    """Return the packages of this repository that ``package`` needs, directly or not."""
    found: set[str] = set()
    for requirement in project(package)["project"]["dependencies"]:
        name = re.split(r"[^a-z-]", requirement, maxsplit=1)[0]
        if name in PACKAGES:
            found |= {name} | siblings_of(name)
    return found


def test_group(package: str) -> tuple[str, ...]:
    """Return what the package's tests need besides the package."""
    return nox.project.dependency_groups(project(package), "test")


def project(package: str) -> dict:
    """Return the package's pyproject.toml."""
    return tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())


def wheel(package: str) -> str:
    """Return the URL of the package's wheel."""
    (path,) = WHEELS.glob(f"{module(package)}-*.whl")
    return path.as_uri()


def module(package: str) -> str:
    """Return the name that the package is imported by."""
    return package.replace("-", "_")


def pytest(*arguments: str) -> list[str]:
    """Return a command that runs pytest with this repository's settings."""
    return ["pytest", "-q", "--durations=8", f"--config-file={ROOT / 'pyproject.toml'}", *arguments]


def readme_commands() -> list[str]:
    """Return the README's commands: the first line of set-up, then all that begin with `nas`."""
    code = re.findall(r"^    (.*)$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    first = next(line for line in code if line.startswith("pip install ./packages/"))
    return [first, *(line for line in code if line.startswith("nas "))]
