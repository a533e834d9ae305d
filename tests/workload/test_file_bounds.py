"""What can't be read is one clear line at once: no hang, and no memory in proportion to what is offered."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgellm_env.workload import files
from edgellm_env.workload.files import read_trace_file
from edgellm_env.workload.recorded import TraceFileError

HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


def refused(path: Path | str) -> str:
    with pytest.raises(TraceFileError) as caught:
        read_trace_file(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_a_pipe_a_device_and_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe; expected a regular file" in refused(tmp_path / "pipe")
    assert "a device; expected a regular file" in refused("/dev/zero")
    assert "a folder; expected a regular file" in refused(tmp_path)
    (tmp_path / "link").symlink_to("/dev/urandom")
    assert "a device; expected a regular file" in refused(tmp_path / "link")


def test_a_file_that_is_too_large_is_not_begun(tmp_path: Path) -> None:
    path = tmp_path / "sparse.csv"
    with path.open("wb") as file:
        file.truncate(2**43)
    assert f"more than {files.MOST_BYTES:,} bytes" in refused(path)


def test_a_file_that_grows_while_it_is_read_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growing.csv"
    path.write_text(HEADER + "".join(f"{second},1,1\n" for second in range(1000)))
    monkeypatch.setattr(files, "_BLOCK_BYTES", 1024)
    monkeypatch.setattr(files, "MOST_BYTES", 5000)
    monkeypatch.setattr(Path, "stat", lambda self: os.stat_result((0o100644, *[0] * 9)))  # as it was when it was opened
    assert "more than 5,000 bytes" in refused(path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0", HEADER.encode() + b"0,1,\0\n", bytes(5000)])
def test_binary_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trace").write_bytes(content)
    assert "binary; expected text" in refused(tmp_path / "trace")
    (tmp_path / "trace").write_bytes(gzip.compress(content))
    assert "binary; expected text" in refused(tmp_path / "trace")


def test_gzip_that_is_cut_or_damaged(tmp_path: Path) -> None:
    path, packed = tmp_path / "trace.csv.gz", gzip.compress((HEADER + "0,1,1\n" * 100).encode())
    for content in (packed[:-9], packed[:3], packed[:20] + b"\xff\xff\xff" + packed[23:]):
        path.write_bytes(content)
        assert "can't be read: " in refused(path)


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(HEADER + "0,1,1\n" + "1" * 5000)
    monkeypatch.setattr(files, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(files, "MOST_LINE_BYTES", 1000)
    assert ":3: more than 1,000 bytes; expected a shorter line" in refused(path)


def test_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(HEADER + "".join(f"{second},1,1\n" for second in range(3000)))
    monkeypatch.setattr(files, "MOST_ROWS", 2000)
    assert "more than 2,000 rows; expected a part of the recording" in refused(path)


def test_blocks_and_parts_leave_no_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("\ufeff" + HEADER + "".join(f"{row / 8},{row + 1},{row % 7 + 1}\n" for row in range(500)) + "\n\n")
    whole = read_trace_file(path)
    monkeypatch.setattr(files, "_BLOCK_BYTES", 7)
    monkeypatch.setattr(files, "_ROWS_AT_ONCE", 3)
    seamed = read_trace_file(path)
    for name in ("arrival_s", "prompt_tokens", "output_tokens", "line_numbers"):
        assert getattr(seamed, name).tolist() == getattr(whole, name).tolist()
    assert whole.line_numbers.tolist() == list(range(2, 502))
    path.write_text(HEADER + "0,1,1\n" * 5 + "0,0,1\n" * 5)
    assert "trace.csv:7: num_prefill_tokens: '0'" in refused(path)
    path.write_text(HEADER + "".join(f"{row},1,1\n" for row in (0, 1, 2, 1, 3)))
    assert "trace.csv:5: 1 comes before line 4" in refused(path)


def test_cells_of_several_lines_keep_the_count_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("text," + HEADER + '"two\nlines",0,1,1\nplain,1,1,1\n')
    assert read_trace_file(path).line_numbers.tolist() == [3, 4]


def test_a_small_file_that_unpacks_to_much_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(HEADER.encode() + b"0,1,1\n" * 2**20))
    assert path.stat().st_size < 20_000

    def parsed(*_: object) -> None:
        raise AssertionError("something was parsed")

    monkeypatch.setattr(files, "MOST_BYTES", 2**20)
    monkeypatch.setattr(files, "_decoded", parsed)
    assert "more than 1,048,576 bytes; expected a part of the recording" in refused(path)


def test_memory_is_a_few_bytes_a_row(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    rows = 200_000
    path.write_text(HEADER + "".join(f"{row / 8},{row % 4000 + 1},{row % 900 + 1}\n" for row in range(rows)))
    code = (
        "import resource; from edgellm_env.workload.files import read_trace_file\n"
        "usage = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        f"before = usage(); read = read_trace_file({str(path)!r}); print(usage() - before)\n"
        "print(sum(getattr(read, name).nbytes for name in "
        "('arrival_s', 'prompt_tokens', 'output_tokens', 'line_numbers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, kept = map(int, done.stdout.split())
    assert kept == 20 * rows
    assert peak < 2 * kept + 40e6
