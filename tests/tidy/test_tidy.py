"""The rules of the code that a machine can check. Each says in its message what to do instead."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# The core gets its data, its time and its randomness as arguments.
MODULES_NOT_IN_CORE = {
    *(
        "asyncio",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "shutil",
        "socket",
        "subprocess",
    ),
    *("sys", "tempfile", "threading", "time", "urllib"),
    *(
        "aiohttp",
        "aiokafka",
        "confluent_kafka",
        "fastapi",
        "faust",
        "fsspec",
        "mode",
        "prometheus_client",
        "psutil",
    ),
    *("pydantic_settings", "redis", "requests", "rich", "stream_app", "structlog", "typer"),
}
# It runs the compiler, at install time or in a checkout whose C has changed; nothing else in the core imports it.
BUILD = "model_core/compiled/build.py"
CALLS_NOT_IN_CORE = {
    *("open", "print", "input", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("np.load", "np.save", "np.fromfile", "torch.load", "torch.save", "torch.manual_seed", "np.random.seed"),
}
# They run code that came with the data: model files are safetensors with a manifest.
UNSAFE_CALLS = {"torch.load", "pickle.load", "pickle.loads", "eval", "exec"}
UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# Names that say nothing about what is inside.
EMPTY_NAMES = {
    "util",
    "utils",
    "helper",
    "helpers",
    "base",
    "common",
    "manager",
    "managers",
    "misc",
    "lib",
}
ENVIRONMENT_READER = "stream_app/settings/model.py"

# Where packages come from is the business of the machine that installs them. (Joined, so as not to find themselves.)
REGISTRIES = "|".join(
    re.escape(".".join(parts))
    for parts in (
        *(
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("download", "pytorch", "org"),
            ("repo1", "maven", "org"),
        ),
        *(
            ("repo", "maven", "apache", "org"),
            ("registry", "npmjs", "org"),
            ("crates", "io"),
            ("conda", "anaconda"),
        ),
        *(("proxy", "golang", "org"), ("deb", "debian", "org"), ("archive", "ubuntu", "com")),
    )
)
MACHINE_PATHS = r"(?<![\w./$}~-])/(?:" + "|".join(("root", "work", "Users", "home")) + r")/\w"


@cache
def files() -> list[Path]:
    """What is or would be committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout: it is about the files that are committed")
    return [REPOSITORY / name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).is_file()]


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def python_files(*folders: str) -> list[tuple[Path, ast.Module]]:
    paths = [path for path in files() if path.suffix == ".py" and relative(path).split("/")[0] in folders]
    return [(path, parsed(path)) for path in paths]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), relative(path))


def imported_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module


def calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name), of a longer chain the last two words: datetime.datetime.now is datetime.now."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ".".join(ast.unparse(node.func).split(".")[-2:])


ALL_CODE = ("model_core", "stream_app", "tests", "benchmarks", "deploy")


def test_the_core_imports_no_io():
    found = [
        f"{relative(path)}:{line} imports {module}"
        for path, tree in python_files("model_core")
        for line, module in imported_modules(tree)
        if module.split(".")[0] in MODULES_NOT_IN_CORE and relative(path) != BUILD
    ]
    assert not found, f"model_core does no I/O: pass the value in, or do it in stream_app. {found}"


def test_the_core_calls_no_io_and_no_clock():
    found = [
        f"{relative(path)}:{line} calls {name}"
        for path, tree in python_files("model_core")
        for line, name in calls(tree)
        if name in CALLS_NOT_IN_CORE
    ]
    assert not found, f"time, files and seeds come into model_core as arguments. {found}"


def test_nothing_is_unpickled():
    found = [
        f"{relative(path)}:{line} {name}"
        for path, tree in python_files(*ALL_CODE)
        for line, name in [
            *((line, name) for line, name in calls(tree) if name in UNSAFE_CALLS),
            *((line, name) for line, name in imported_modules(tree) if name.split(".")[0] in UNSAFE_MODULES),
        ]
    ]
    assert not found, f"model files are safetensors with a JSON manifest. {found}"


def test_only_the_settings_read_the_environment():
    found = []
    for path, tree in python_files("model_core", "stream_app"):
        if relative(path) == ENVIRONMENT_READER:
            continue
        for node in ast.walk(tree):
            named = isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}
            imported = isinstance(node, ast.ImportFrom) and node.module == "os"
            if named or (imported and {alias.name for alias in node.names} & {"environ", "environb", "getenv"}):
                found.append(f"{relative(path)}:{node.lineno}")
    assert not found, f"let {ENVIRONMENT_READER} read it and pass the value in. {found}"


def test_files_stay_readable_in_one_sitting():
    found = {
        relative(path): lines
        for path, _ in python_files(*ALL_CODE)
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert not found, f"a file has at most {FILE_LINES_MAX} lines: give the second idea a file of its own. {found}"


def test_functions_fit_a_screen():
    found = [
        f"{relative(path)}:{node.lineno} {node.name} has {lines}"
        for path, tree in python_files(*ALL_CODE)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := node.end_lineno - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not found, f"a function has at most {FUNCTION_LINES_MAX} lines. {found}"


def test_names_say_what_is_inside():
    found = {
        relative(path)
        for path in files()
        if path.suffix == ".py" and EMPTY_NAMES & {path.stem, *relative(path).split("/")[:-1]}
    }
    assert not found, f"name a file after the one thing that it does. {sorted(found)}"


def test_each_module_says_its_role():
    found = [relative(path) for path, tree in python_files(*ALL_CODE) if tree.body and not ast.get_docstring(tree)]
    assert not found, f"begin with a docstring: the role, and what it must not know. {found}"


def texts() -> Iterator[tuple[str, int, str]]:
    for path in files():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        yield from ((relative(path), number, line) for number, line in enumerate(lines, 1))


def test_no_file_names_a_package_registry_or_a_path_of_one_machine():
    forbidden = re.compile(f"{REGISTRIES}|{MACHINE_PATHS}")
    found = [f"{name}:{number} {match[0]}" for name, number, line in texts() if (match := forbidden.search(line))]
    assert not found, f"say the package's name and a relative path. {found}"


def test_the_locks_carry_hashes_and_no_address():
    for lock in sorted(REPOSITORY.glob("requirements*.lock")):
        text = lock.read_text()
        assert "://" not in text, f"{lock.name} names an address; write it with `make lock`"
        assert not re.search(r"^--(?!hash)", text, re.MULTILINE), (
            f"{lock.name} has an option; write it with `make lock`"
        )
        packages = re.findall(r"^([a-z0-9][\w.-]*)==(?:.*\\\n)+.*", text, re.MULTILINE)
        assert len(packages) == len(re.findall(r"^\w.*==", text, re.MULTILINE)), f"{lock.name} has one without a hash"
