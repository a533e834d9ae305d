import datetime
import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from edgellm_env.scenario.demand import TraceFormat
from edgellm_env.workload.files import read_trace_file
from edgellm_env.workload.recorded import RecordedRequests, TraceFileError

DATA = Path(__file__).parents[1] / "data"
AZURE_HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
REAL_AZURE = Path(__file__).parents[2].parent / "shared/data/azure_llm_2023/AzureLLMInferenceTrace_conv.csv"


def written(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def recorded(*rows: tuple[float, int, int]) -> RecordedRequests:
    arrival_s, prompts, outputs = zip(*rows, strict=True)
    return RecordedRequests(
        path="made-up.csv",
        arrival_s=np.array(arrival_s, dtype=np.float64),
        prompt_tokens=np.array(prompts, dtype=np.int64),
        output_tokens=np.array(outputs, dtype=np.int64),
        line_numbers=np.arange(2, 2 + len(rows)),
    )


# --- The four formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["auto", "azure"])
def test_azure_sample(format_name: TraceFormat) -> None:
    read = read_trace_file(DATA / "azure_sample.csv", format_name)
    lines = (DATA / "azure_sample.csv").read_text().splitlines()
    assert read.size == len(lines) - 1
    # an independent reading: datetime to the microsecond, and the seventh decimal by hand
    for index, line in enumerate(lines[1:]):
        timestamp, prompt, output = line.split(",")
        since = datetime.datetime.fromisoformat(timestamp[:-1]) - datetime.datetime(2000, 2, 28, 23, 58, 58, 234567)
        microseconds = since // datetime.timedelta(microseconds=1)
        assert read.arrival_s[index] == (microseconds * 10 + int(timestamp[-1]) - 8) / 10**7
        assert (read.prompt_tokens[index], read.output_tokens[index]) == (int(prompt), int(output))
    assert read.line_numbers[[0, -1]].tolist() == [2, len(lines)]


def test_azure_times_are_exact_over_days_and_to_the_last_decimal(tmp_path: Path) -> None:
    text = (
        AZURE_HEADER
        + "2023-12-31 23:59:59.9999999,1,1\n"
        + "2024-01-01 00:00:00.0000000,1,1\n"
        + "2024-02-29 00:00:00,1,1\n"
        + "2024-03-01T00:00:00.5Z,1,1\n"
        + "2024-03-01 00:00:00.500001+00:00,1,1\n"
    )
    read = read_trace_file(written(tmp_path, text))
    # 31 + 28 days lie between 1 January and 29 February; a leap year
    february, march = 59 * 86400, 60 * 86400
    assert read.arrival_s.tolist() == [0.0, 1e-7, february + 1e-7, march + 0.5000001, march + 0.5000011]


def test_line_ends_a_byte_order_mark_and_blank_last_lines_are_fine(tmp_path: Path) -> None:
    plain = AZURE_HEADER + "2024-01-01 00:00:00,1,2\n2024-01-01 00:00:01,3,4\n"
    windows = plain.replace("\n", "\r\n")
    for text in (windows, "\ufeff" + plain, plain.rstrip("\n"), plain + "\n  \n", windows + "\r\n"):
        read = read_trace_file(written(tmp_path, text))
        assert read.prompt_tokens.tolist() == [1, 3]
        assert read.line_numbers.tolist() == [2, 3]


@pytest.mark.parametrize("format_name", ["auto", "burstgpt"])
def test_burstgpt_counts_seconds_from_its_first_row(format_name: TraceFormat) -> None:
    read = read_trace_file(DATA / "burstgpt_sample.csv", format_name)
    assert read.arrival_s.tolist() == [0.0, 40.5, 113.0, 113.0]
    assert read.prompt_tokens.tolist() == [472, 1087, 417, 1360]
    assert read.output_tokens.tolist() == [18, 230, 276, 647]


@pytest.mark.parametrize("format_name", ["auto", "mooncake"])
def test_mooncake_counts_milliseconds(format_name: TraceFormat) -> None:
    read = read_trace_file(DATA / "mooncake_sample.jsonl", format_name)
    assert read.arrival_s.tolist() == [0.0, 0.0, 0.333]
    assert read.prompt_tokens.tolist() == [6755, 7319, 700]
    assert read.output_tokens.tolist() == [500, 490, 12]
    assert read.line_numbers.tolist() == [1, 2, 3]


@pytest.mark.parametrize("format_name", ["auto", "splitwise"])
def test_splitwise_counts_seconds(format_name: TraceFormat) -> None:
    read = read_trace_file(DATA / "splitwise_sample.csv", format_name)
    assert read.arrival_s.tolist() == [0.0, 4.314579, 4.541877, 12.0]
    assert read.prompt_tokens.tolist() == [374, 396, 879, 91]
    assert read.output_tokens.tolist() == [44, 109, 55, 16]


def test_decimal_times_lose_no_digit_before_the_subtraction(tmp_path: Path) -> None:
    # 1e9 + 0.1 has no float64 of its own: subtracting floats would give 0.10000002384...
    text = "arrived_at,num_prefill_tokens,num_decode_tokens\n1000000000,1,1\n1000000000.1,1,1\n"
    assert read_trace_file(written(tmp_path, text)).arrival_s.tolist() == [0.0, 0.1]


def test_the_real_azure_trace() -> None:
    if not REAL_AZURE.is_file():
        pytest.skip("the Azure trace is not at hand")
    begin = time.process_time()
    read = read_trace_file(REAL_AZURE)
    assert time.process_time() - begin < 2.0
    assert read.size == 19366
    # 18:15:46.6805900 to 19:14:08.4025270
    assert read.arrival_s[[0, -1]].tolist() == [0.0, 3501.721937]
    assert read.prompt_tokens.mean() == pytest.approx(1154.7, abs=0.05)
    assert np.median(read.output_tokens) == 129


# --- Malformed files -----------------------------------------------------------------------------------------------

GOOD = "2024-01-01 00:00:00,5,6\n"


@pytest.mark.parametrize(
    ("rows", "line", "reason"),
    [
        (GOOD + "2024-01-01 00:00:01,5\n", 3, "2 columns; expected 3 columns"),
        (GOOD + "2024-01-01 00:00:01,5,6,7\n", 3, "4 columns; expected 3 columns"),
        (GOOD + "\n" + GOOD, 3, "an empty line; expected 3 columns"),
        (GOOD + "\n  \n" + GOOD, 3, "an empty line; expected 3 columns"),
        ("2024-01-01 00:00:00,five,6\n", 2, r"ContextTokens: 'five'; expected a whole number from 1"),
        ("2024-01-01 00:00:00,5,6.0\n", 2, r"GeneratedTokens: '6\.0'; expected a whole number from 1"),
        ("2024-01-01 00:00:00,5, 6\n", 2, "GeneratedTokens: ' 6'"),
        ("2024-01-01 00:00:00,5,\n", 2, "GeneratedTokens: ''"),
        ("2024-01-01 00:00:00,1_0,6\n", 2, "ContextTokens: '1_0'"),
        ("2024-01-01 00:00:00,٣,6\n", 2, "ContextTokens: '٣'"),
        ("2024-01-01 00:00:00,-5,6\n", 2, "ContextTokens: '-5'"),
        ("2024-01-01 00:00:00,0,6\n", 2, "ContextTokens: '0'; .*zero_tokens: drop"),
        ("2024-01-01 00:00:00,5,0\n", 2, "GeneratedTokens: '0'; .*zero_tokens: drop"),
        ("2024-01-01 00:00:00,99999999999,6\n", 2, "ContextTokens: '99999999999'; .* to 2147483647"),
        ("2024-01-01 00:00:00,5," + "9" * 5000 + "\n", 2, "GeneratedTokens: '9999"),
        ("yesterday,5,6\n", 2, "'yesterday'; expected a time such as"),
        ("2024-02-30 00:00:00,5,6\n", 2, "'2024-02-30 00:00:00'; expected a day of the calendar"),
        ("2024-01-01 24:00:00,5,6\n", 2, "expected a day of the calendar and a time of day from 00:00:00"),
        ("2024-01-01 00:60:00,5,6\n", 2, "expected a day of the calendar and a time of day from 00:00:00"),
        ("2024-01-01 00:00:60,5,6\n", 2, "expected a day of the calendar and a time of day from 00:00:00"),
        ("2024-01-01 00:00:00+02:00,5,6\n", 2, "expected a time such as"),
        ("2024-01-01 00:00:00.0123456789,5,6\n", 2, "expected a time such as"),
        (GOOD + "2023-12-31 23:59:59.9999999,5,6\n", 3, "comes before line 2; expected rows sorted by time"),
        (GOOD + '"2024-01-01 00:00:01,5,6\n', 3, "not valid CSV"),
        ("", 1, "no rows"),
    ],
)
def test_malformed_azure_rows_name_file_line_and_reason(tmp_path: Path, rows: str, line: int, reason: str) -> None:
    path = written(tmp_path, AZURE_HEADER + rows)
    with pytest.raises(TraceFileError, match=rf"trace\.csv:{line}: .*{reason}") as caught:
        read_trace_file(path)
    assert str(path) in str(caught.value)


def test_the_line_is_right_after_many_good_rows(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match=r"trace\.csv:502: ContextTokens: 'x'"):
        read_trace_file(written(tmp_path, AZURE_HEADER + GOOD * 500 + "2024-01-01 00:00:01,x,6\n" + GOOD))


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        ("-1", "time '-1'; expected a number from 0"),
        ("nan", "time 'nan'"),
        ("inf", "time 'inf'"),
        ("", "time ''"),
        ("1,5", "columns"),
        ("1e400", "time '1e400'"),
        ("1e99999999999", "time '1e99999999999'"),
    ],
)
def test_malformed_seconds(tmp_path: Path, seconds: str, reason: str) -> None:
    text = f"arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,1\n{seconds},1,1\n"
    with pytest.raises(TraceFileError, match=rf"trace\.csv:3: .*{reason}"):
        read_trace_file(written(tmp_path, text))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("{", "not valid JSON"),
        ('\n{"timestamp": 1, "input_length": 2, "output_length": 3}', "not valid JSON"),
        ("[1, 2, 3]", "timestamp, input_length, output_length: missing"),
        ('{"timestamp": 1, "input_length": 2}', "output_length: missing"),
        ('{"timestamp": "1", "input_length": 2, "output_length": 3}', "time \"'1'\""),
        ('{"timestamp": NaN, "input_length": 2, "output_length": 3}', "time 'nan'"),
        ('{"timestamp": -1, "input_length": 2, "output_length": 3}', "time '-1'"),
        ('{"timestamp": null, "input_length": 2, "output_length": 3}', "time 'None'"),
        ('{"timestamp": 1, "input_length": 2.5, "output_length": 3}', r"input_length: '2\.5'"),
        ('{"timestamp": 1, "input_length": true, "output_length": 3}', "input_length: 'True'"),
        ('{"timestamp": 1, "input_length": 2, "output_length": 0}', "output_length: '0'"),
        ('{"timestamp": 1, "input_length": 2, "output_length": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_malformed_json_lines(tmp_path: Path, record: str, reason: str) -> None:
    first = '{"timestamp": 0, "input_length": 1, "output_length": 1}\n'
    with pytest.raises(TraceFileError, match=rf"trace\.jsonl:2: .*{reason}"):
        read_trace_file(written(tmp_path, first + record + "\n", "trace.jsonl"))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match=r"trace\.csv:3: not UTF-8 text"):
        read_trace_file(written(tmp_path, AZURE_HEADER.encode() + GOOD.encode() + b"2024-01-01 00:00:01,\xff,6\n"))


@pytest.mark.parametrize("content", ["", "\n", "  \n\n"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(TraceFileError, match=r"trace\.csv:1: the file is empty"):
        read_trace_file(written(tmp_path, content))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match=r"absent\.csv: can't be read: No such file"):
        read_trace_file(tmp_path / "absent.csv")


def test_a_missing_header_names_the_known_formats(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match=r"trace\.csv:1: columns \['2024-01-01 00:00:00', '5', '6'\]") as caught:
        read_trace_file(written(tmp_path, GOOD))
    for name in ("azure, burstgpt, mooncake, splitwise", "workload.trace.columns"):
        assert name in str(caught.value)


def test_a_header_of_another_format_than_asked_for(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match=r"trace\.csv:1: columns .*; expected arrived_at, num_prefill_tokens"):
        read_trace_file(written(tmp_path, AZURE_HEADER + GOOD), "splitwise")
    with pytest.raises(TraceFileError, match=r"trace\.csv:1: columns .*; expected timestamp, input_length"):
        read_trace_file(written(tmp_path, AZURE_HEADER + GOOD), "mooncake")


def test_a_column_named_twice_is_ambiguous(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens,ContextTokens\n2024-01-01 00:00:00,5,6,7\n"
    with pytest.raises(TraceFileError, match=r"trace\.csv:1: .*expected ContextTokens exactly once"):
        read_trace_file(written(tmp_path, text))


# --- Rows without tokens -------------------------------------------------------------------------------------------


def test_failed_requests_can_be_an_error() -> None:
    with pytest.raises(TraceFileError, match=r"burstgpt_failed_sample\.csv:2: Response tokens: '0'.*zero_tokens"):
        read_trace_file(DATA / "burstgpt_failed_sample.csv", zero_tokens="error")


def test_where_a_layout_logs_failed_requests_they_are_dropped_and_counted() -> None:
    read = read_trace_file(DATA / "burstgpt_failed_sample.csv")
    assert read.zero_token_rows == 2
    assert read.line_numbers.tolist() == [3, 5]
    # the failed first row still is the beginning of the recording
    assert read.arrival_s.tolist() == [40.0, 125.0]


def test_elsewhere_dropping_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "arrived_at,num_prefill_tokens,num_decode_tokens\n0,5,0\n1,5,2\n")
    with pytest.raises(TraceFileError, match=r"trace\.csv:2: num_decode_tokens: '0'.*workload\.trace\.zero_tokens"):
        read_trace_file(path)
    assert read_trace_file(path, zero_tokens="drop").zero_token_rows == 1


def test_dropping_excuses_no_other_fault(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match="'-1'; expected a whole number from 0"):
        read_trace_file(written(tmp_path, AZURE_HEADER + "2024-01-01 00:00:00,-1,6\n"), zero_tokens="drop")


# --- Scaling, windows, limits --------------------------------------------------------------------------------------


def test_arrays_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        recorded((0.0, 1, 1)).arrival_s[0] = 1.0


def test_scaling_multiplies_times_only() -> None:
    original = recorded((0.0, 1, 2), (3.0, 3, 4))
    fast = original.scaled(0.5)
    assert fast.arrival_s.tolist() == [0.0, 1.5]
    assert fast.prompt_tokens.tolist() == [1, 3]
    assert (original.duration_s, fast.duration_s) == (3.0, 1.5)


def test_a_window_contains_its_start_and_not_its_end() -> None:
    window = recorded((0.0, 1, 1), (1.0, 2, 2), (1.0, 3, 3), (2.0, 4, 4), (3.0, 5, 5)).window(1.0, 3.0)
    assert window.prompt_tokens.tolist() == [2, 3, 4]
    assert window.arrival_s.tolist() == [1.0, 1.0, 2.0]
    assert window.line_numbers.tolist() == [3, 4, 5]


def test_adjacent_windows_share_out_every_row() -> None:
    read = read_trace_file(DATA / "azure_sample.csv")
    edges = np.linspace(0.0, read.duration_s + 1e-9, 17)
    parts = [read.window(start, end).line_numbers for start, end in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), read.line_numbers)


def test_an_empty_window() -> None:
    window = recorded((0.0, 1, 1), (5.0, 2, 2)).window(1.0, 5.0)
    assert (window.size, window.duration_s) == (0, 0.0)


LONG = recorded((0.0, 10, 20), (1.0, 11, 20), (2.0, 10, 21), (3.0, 100, 200))


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        (LONG, r"made-up\.csv:3: 11 prompt tokens; expected at most workload\.prompt_limit_tokens = 10"),
        (LONG.window(2.0, 9.0), r"made-up\.csv:4: 21 output tokens; expected at most .*output_limit_tokens = 20"),
    ],
)
def test_longer_requests_are_an_error_by_default(requests: RecordedRequests, message: str) -> None:
    with pytest.raises(TraceFileError, match=message + r".*workload\.trace\.over_limit"):
        requests.limited(10, 20)


def test_longer_requests_can_be_capped_and_counted() -> None:
    capped = LONG.limited(10, 20, "cap")
    assert capped.prompt_tokens.tolist() == [10, 10, 10, 10]
    assert capped.output_tokens.tolist() == [20, 20, 20, 20]
    assert (capped.capped_rows, capped.rejected_rows) == (3, 0)
    assert LONG.capped_rows == 0


def test_longer_requests_can_be_rejected_and_counted() -> None:
    kept = LONG.limited(10, 20, "reject")
    assert kept.line_numbers.tolist() == [2]
    assert (kept.capped_rows, kept.rejected_rows) == (0, 3)


@pytest.mark.parametrize("rule", ["error", "cap", "reject"])
def test_limits_that_nothing_exceeds_change_nothing(rule: str) -> None:
    within = LONG.limited(100, 200, rule)  # type: ignore[arg-type]
    np.testing.assert_array_equal(within.prompt_tokens, LONG.prompt_tokens)
    assert (within.capped_rows, within.rejected_rows) == (0, 0)
