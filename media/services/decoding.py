"""The hand that feeds `decoder.py`: a child process that may break, and is replaced when it does."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from types import TracebackType

SCRIPT = Path(__file__).with_name("decoder.py")
MOST_SECONDS = 20.0  # for one file
MOST_OUT = 32 * 1024 * 1024  # bytes of all parts of one file


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file is, and the parts that are kept of it; or the code of why not, in `refused`."""

    media_type: str = ""
    width: int | None = None
    height: int | None = None
    parts: tuple[tuple[str, bytes], ...] = ()
    refused: str = ""

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(len(content) for _, content in self.parts)


class Decoder:
    """`with Decoder() as decoder: decoder.check(…)`. The process is started with the first file."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Of the process that has checked a file; 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    def check(self, kind: str, media_type: str, raw: bytes) -> Checked:
        """Look into one file. A process that died or took too long refuses it too, as `too_hard`."""
        process = self._process or self._start()
        out_of_time = Timer(MOST_SECONDS, process.kill)
        out_of_time.daemon = True
        out_of_time.start()
        try:
            found = self._ask(process, kind, media_type, raw)
        except (OSError, ValueError, KeyError):  # it died meanwhile, or did not say what it should
            self._end()
            return Checked(refused="too_hard")
        finally:
            out_of_time.cancel()
        return found

    @staticmethod
    def _ask(process: subprocess.Popen[bytes], kind: str, media_type: str, raw: bytes) -> Checked:
        assert process.stdin is not None
        assert process.stdout is not None
        asked = {"kind": kind, "type": media_type, "bytes": len(raw)}
        process.stdin.write(json.dumps(asked).encode() + b"\n" + raw)
        process.stdin.flush()
        told = json.loads(process.stdout.readline(65_536))
        sizes = [(str(name), int(size)) for name, size in told["parts"]]
        if sum(size for _, size in sizes) > MOST_OUT:
            raise ValueError("It says too much.")
        parts = []
        for name, size in sizes:
            content = process.stdout.read(size)
            if len(content) != size:
                raise ValueError("It broke off.")
            parts.append((name, content))
        if "refused" in told:
            return Checked(refused=str(told["refused"]))
        return Checked(str(told["type"]), told.get("width"), told.get("height"), tuple(parts))

    def _start(self) -> subprocess.Popen[bytes]:
        # Without our environment: what runs there knows none of our secrets.
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
        )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):  # what it had not read yet
                        stream.close()
            process.wait()
