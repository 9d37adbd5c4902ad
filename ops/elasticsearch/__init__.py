"""A real Elasticsearch server for tests and measurements, assembled from what is published to Maven Central.

`home()` fetches and lays it out once, `Server` starts one node. See README.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "elasticsearch"
#: Jars of the transport; they stand in a module of their own, as in a distribution.
TRANSPORT = ("netty-", "transport-netty4-")
DESCRIPTOR = "plugin-descriptor.properties"
START_SECONDS = 90


class Missing(RuntimeError):
    """What the server is made with is not there, or did not do what was asked; the message says which."""


def tools() -> tuple[str, str, str]:
    """Java, its compiler and Maven. Raises Missing."""
    found = [shutil.which(name) for name in ("java", "javac", "mvn")]
    if not all(found):
        raise Missing("Java and Maven are not installed (apt-get install default-jdk-headless maven)")
    java, javac, maven = (str(path) for path in found)
    return java, javac, maven


def home() -> Path:
    """The folder of a server, laid out if it is not there yet. Raises Missing."""
    _java, javac, maven = tools()
    sources = [HERE / "pom.xml", HERE / "log4j2.properties", *sorted((HERE / "src").glob("*.java"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    made = BUILD / digest
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:  # several processes may test at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_dir():
            with tempfile.TemporaryDirectory(dir=BUILD) as folder:
                _lay_out(Path(folder) / "home", javac, maven)
                (Path(folder) / "home").rename(made)
    return made


def _lay_out(folder: Path, javac: str, maven: str) -> None:
    libraries, transport, own = folder / "lib", folder / "modules" / "transport-netty4", folder / "modules" / "common"
    for part in (libraries, transport, own, folder / "config", folder / "plugins"):
        part.mkdir(parents=True)
    _run(
        [
            maven,
            "-q",
            "-B",
            "-f",
            str(HERE / "pom.xml"),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={libraries}",
        ]
    )
    for jar in [jar for jar in libraries.iterdir() if jar.name.startswith(TRANSPORT)]:
        jar.rename(transport / jar.name)
    (jar,) = transport.glob("transport-netty4-*.jar")
    version = jar.stem.removeprefix("transport-netty4-")
    with zipfile.ZipFile(jar) as archive:
        text = archive.read(f"META-INF/es-plugins/transport-netty4/{DESCRIPTOR}").decode()
    # Loaded by class, not as a module of Java: the server is on the class path.
    lines = [line for line in text.splitlines() if not line.startswith("modulename")]
    (transport / DESCRIPTOR).write_text("\n".join(lines) + "\n")
    shutil.copy(HERE / "log4j2.properties", folder / "config")
    _run(
        [javac, "-proc:none", "-cp", f"{libraries}/*", "-d", str(folder / "classes")]
        + [str(path) for path in sorted((HERE / "src").glob("*.java"))]
    )
    # The plugin's classes leave the class path, so that only its own loader finds them.
    with zipfile.ZipFile(own / "common.jar", "w") as archive:
        for path in sorted((folder / "classes").glob("CommonAnalysis*.class")):
            archive.write(path, path.name)
            path.unlink()
    (own / DESCRIPTOR).write_text(
        "name=common\ndescription=Token filters of analysis-common\nclassname=CommonAnalysis\n"
        f"version={version}\nelasticsearch.version={version}\njava.version=17\n"
    )


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise Missing(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr)[-1500:]}")


class Server:
    """One node with its data in `folder`, on a port of its choice. It ends with this process at the latest."""

    def __init__(self, folder: Path, *, heap_mb: int = 512) -> None:
        """Started and listening. Raises Missing."""
        java, _javac, _maven = tools()
        place = home()
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "output").open("w+")
        self._process = subprocess.Popen(
            [
                java,
                f"-Xms{heap_mb}m",
                f"-Xmx{heap_mb}m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                f"{place / 'classes'}:{place / 'lib'}/*",
                "Server",
                str(place),
                str(folder),
            ],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        ports = folder / "logs" / "http.ports"
        until = time.monotonic() + START_SECONDS
        while not (ports.is_file() and ports.read_text().strip()):
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise Missing(f"Elasticsearch did not start: {(folder / 'output').read_text()[-1500:]}")
            time.sleep(0.1)
        (address,) = [line for line in ports.read_text().split() if line.startswith("127.0.0.1:")]
        self.url = f"http://{address}"
        self.pid = self._process.pid

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
