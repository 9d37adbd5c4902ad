#!/usr/bin/env python3
"""Make `.venv` if it is missing or out of date, then run a command with its Python.

    python3 bootstrap.py [--dev] [--die-with-parent] [--] ARGUMENT...

`python3 bootstrap.py -- manage.py up` runs `.venv/bin/python manage.py up`. Nothing but Python's standard library is
needed; a second run is instant, since the requirement files that were installed are remembered. This file is read by
Pythons that are too old for the rest, if only to say so.
"""

import ast
import ctypes
import errno
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
UNFINISHED = os.path.join(VENV, ".unfinished")  # stands while packages are written; what it marks is thrown away
REQUIREMENTS = {"run": ["requirements.txt"], "dev": ["requirements.txt", "requirements-dev.txt"]}
NEEDED_BYTES = 1000000000
PR_SET_PDEATHSIG = 1
# What pip is told about the package index -> how uv is told the same.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
}
DISK_FULL = re.compile(r"No space left on device|os error 28")
UNREACHABLE = re.compile(
    r"NewConnectionError|Name or service not known|name resolution|dns error|Network is unreachable|Connection refused"
    r"|ConnectTimeout|timed out|error sending request|Could not connect|ProxyError|No route to host",
    re.IGNORECASE,
)


class Failure(Exception):
    """What went wrong, as one plain sentence for the person at the terminal."""


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def find_python() -> None:
    """Start again with a Python that is new enough, if this one is not."""
    if sys.version_info >= OLDEST:
        return
    for minor in range(20, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0:
            os.execv(found, [found, *sys.argv])
    version = sys.version.split()[0]
    raise Failure(f"Python 3.11 or newer is needed and this is {version}: install one, or name it with PYTHON=….")


def is_usable() -> bool:
    """Whether `.venv` is whole and its Python runs and is new enough."""
    if os.path.exists(UNFINISHED):
        return False
    check = f"import sys; raise SystemExit(sys.version_info < {OLDEST} or sys.prefix == sys.base_prefix)"
    try:
        return subprocess.run([VENV_PYTHON, "-c", check], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def stamp_of(kind: str) -> str:
    """What must be the same for an installation to be current: its place, which its scripts name, and its contents."""
    python = subprocess.run([VENV_PYTHON, "-c", "import sys; print(sys.version)"], stdout=subprocess.PIPE)
    digest = hashlib.sha256(VENV.encode() + python.stdout)
    for name in REQUIREMENTS[kind]:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def is_installed(kind: str) -> bool:
    try:
        with open(os.path.join(VENV, f".installed-{kind}")) as file:
            return file.read() == stamp_of(kind)
    except OSError:
        return False


def ensure(kind: str) -> None:
    """Have the requirements of this kind installed, whatever was there before. Raises Failure."""
    lock = os.open(ROOT, os.O_RDONLY)  # installers inherit it, so one that outlives us is waited for
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Waiting for another installation in this directory to end")
        fcntl.flock(lock, fcntl.LOCK_EX)
    usable = is_usable()
    if not (usable and is_installed(kind)):
        began = time.monotonic()
        if shutil.disk_usage(ROOT).free < NEEDED_BYTES:
            raise Failure(f"The disk is too full: the packages need about 1 GB in {ROOT}.")
        if not usable:
            make_venv()
        install(kind, lock)
        for each in REQUIREMENTS if kind == "dev" else [kind]:  # the first include the second
            with open(os.path.join(VENV, f".installed-{each}"), "w") as file:
                file.write(stamp_of(each))
        say(f"Everything is installed, after {time.monotonic() - began:.0f} s")
    os.close(lock)


def make_venv() -> None:
    """An empty environment, marked as unfinished."""
    if os.path.islink(VENV) or os.path.isfile(VENV):
        os.remove(VENV)
    elif os.path.exists(VENV):
        say("Clearing away a .venv that is unfinished or does not run here")
        shutil.rmtree(VENV)
    if importlib.util.find_spec("venv") is None:
        raise Failure("Python's venv module is missing: install the package python3-venv, then run this again.")
    say(f"Making .venv with Python {sys.version.split()[0]}")
    os.mkdir(VENV)
    mark_unfinished()
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if made.returncode:
        raise Failure(explain("The environment .venv could not be made", made.stdout.decode(errors="replace")))


def mark_unfinished() -> None:
    with open(UNFINISHED, "w"):
        pass


def install(kind: str, lock: int) -> None:
    """With uv, which takes seconds, or where there is none for this machine with pip. Every file's hash is checked."""
    fresh = os.path.exists(UNFINISHED)
    mark_unfinished()
    pip = [*find_pip(lock), "--disable-pip-version-check", "--no-input"]
    files = [word for name in REQUIREMENTS[kind] for word in ("-r", os.path.join(ROOT, name))]
    environment = dict(os.environ, PIP_USER="0")
    code, said = 1, ""
    uv = [VENV_PYTHON, "-m", "uv"]
    if not has_uv():
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
            pinned.write(pin_of("uv"))
            pinned.flush()
            options = ["--quiet", "--retries", "2", "--only-binary", ":all:", "--require-hashes", "--no-deps"]
            code, said = run(
                "Fetching the installer", [*pip, "install", *options, "-r", pinned.name], environment, lock
            )
    if has_uv():
        options = ["--python", VENV_PYTHON, "--require-hashes", "--compile-bytecode"]
        code, said = run("Installing packages", [*uv, "pip", "install", *options, *files], uv_environment(pip), lock)
    if code and not UNREACHABLE.search(said) and not DISK_FULL.search(said):
        options = ["--quiet", "--retries", "2", "--require-hashes"]
        code, said = run("Installing packages with pip", [*pip, "install", *options, *files], environment, lock)
    if code:
        if UNREACHABLE.search(said) and not fresh:
            os.remove(UNFINISHED)  # nothing was written: what was there is as good as before
        raise Failure(explain("The packages could not be installed", said))
    os.remove(UNFINISHED)


def find_pip(lock: int) -> "list[str]":
    """pip as a command for `.venv`: its own, or that of the Python which made it, where Debian has cut pip out."""
    own = [VENV_PYTHON, "-m", "pip"]
    if importlib.util.find_spec("ensurepip") is not None:
        if subprocess.run([*own, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            code, said = run("Adding pip", [VENV_PYTHON, "-m", "ensurepip"], dict(os.environ), lock)
            if code:
                raise Failure(explain("pip could not be added to .venv", said))
        return own
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--python", VENV_PYTHON]
    raise Failure("Python comes without pip here: install the package python3-venv, then run this again.")


def has_uv() -> bool:
    return os.access(os.path.join(VENV, "bin", "uv"), os.X_OK)


def pin_of(package: str) -> str:
    """The lines of one package, with its hashes, from the pinned requirements."""
    with open(os.path.join(ROOT, "requirements-dev.txt")) as file:
        found = re.search(rf"^{package}==(?:.*\\\n)*.*", file.read(), re.MULTILINE)
    return found[0] if found else ""


def uv_environment(pip: "list[str]") -> "dict[str, str]":
    """Ours, and what pip was told about the index, which uv does not read by itself."""
    environment = dict(os.environ, UV_NO_PROGRESS="1", UV_PYTHON_DOWNLOADS="never")
    listed = subprocess.run([*pip, "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for name, value in re.findall(r"^\S*?\.([a-z-]+)=(.+)$", listed.stdout.decode(errors="replace"), re.MULTILINE):
        if name in UV_NAMES:
            environment.setdefault(UV_NAMES[name], " ".join(str(ast.literal_eval(value)).split()))
    cache = environment.get("UV_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    try:
        os.makedirs(cache, exist_ok=True)
    except OSError:
        environment["UV_NO_CACHE"] = "1"
    if not os.access(cache, os.W_OK):
        environment["UV_NO_CACHE"] = "1"
    return environment


def run(what: str, command: "list[str]", environment: "dict[str, str]", lock: int) -> "tuple[int, str]":
    """Run an installer and show that it works. Returns its exit code and what it said."""
    say(what)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=ROOT, pass_fds=[lock]
        )
        began = told_at = time.monotonic()
        while process.poll() is None:
            time.sleep(0.05)
            if time.monotonic() - told_at > 5:
                told_at = time.monotonic()
                say(f"  … {told_at - began:.0f} s")
        output.seek(0)
        return process.returncode, output.read().decode(errors="replace")


def explain(what: str, said: str) -> str:
    if DISK_FULL.search(said):
        return f"{what}: the disk is full."
    if UNREACHABLE.search(said):
        return f"{what}: the package index cannot be reached; check the network or the proxy, then run this again."
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{what}: {lines[-1] if lines else 'the installer said nothing'}"


def main() -> int:
    arguments = sys.argv[1:]
    kind = "run"
    while arguments and arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option == "--dev":
            kind = "dev"
        elif option == "--die-with-parent" and sys.platform == "linux":  # a make killed by force takes us along
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        elif option == "--":
            break
        elif option != "--die-with-parent":
            say(__doc__ or "")
            return 2
    try:
        find_python()
        ensure(kind)
    except Failure as failure:
        say(f"bootstrap: {failure}")
        return 1
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        say(f"bootstrap: {error.filename or ROOT}: {reason}.")
        return 1
    except KeyboardInterrupt:
        say("bootstrap: interrupted; the next run begins anew.")
        return 130
    if arguments:
        os.chdir(ROOT)
        os.execv(VENV_PYTHON, [VENV_PYTHON, *arguments])
    return 0


if __name__ == "__main__":
    sys.exit(main())
