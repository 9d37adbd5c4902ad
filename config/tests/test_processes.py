"""What a process does for itself before it serves."""

import subprocess
import sys

import pytest

from config.cluster import ROOT

SAY = "import resource; from config.processes import raise_open_files; raise_open_files()"
SAY += "; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"


@pytest.mark.parametrize(("soft", "hard"), [(256, 1024), (64, 64)])
def test_a_process_may_open_as_many_files_as_it_is_allowed_to(soft, hard):
    limited = ["sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh", sys.executable, "-c", SAY]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == [str(hard), str(hard)], done.stderr
