from __future__ import annotations

import json
import re

import pytest

from replaykit import errors
from replaykit.cli.exits import EXIT_CODES, exit_code
from replaykit.cli.words import count, moment, size
from replaykit.store import Store


class TestLs:
    def test_a_line_a_recording(self, record, run):
        record("greeting")
        record("farewell", repository="theirs")

        done = run("ls")

        assert done.exit_code == 0
        head, *lines = done.stdout.splitlines()
        assert head.split() == ["repository", "name", "entries", "sealed", "digest"]
        assert [line.split()[:3] for line in lines] == [["ours", "greeting", "5"], ["theirs", "farewell", "5"]]
        assert all(re.search(r"  \d{4}-\d\d-\d\d \d\d:\d\d UTC  [0-9a-f]{8}$", line) for line in lines)

    def test_json_is_for_programs(self, record, run, store):
        record()
        with Store.open(store) as opened:
            (recording,) = opened.recordings()

        assert json.loads(run("ls", "--json").stdout) == [
            {
                "repository": "ours",
                "name": "greeting",
                "entries": 5,
                "sealed": recording.sealed,
                "digest": recording.manifest.hex(),
            }
        ]

    def test_a_store_without_recordings_says_so(self, run, store):
        Store.open(store).close()

        assert run("ls").stdout == f"no recordings in {store}\n"
        assert json.loads(run("ls", "--json").stdout) == []

    def test_the_option_goes_before_the_settings(self, record, run, store, monkeypatch):
        record()
        monkeypatch.setenv("REPLAYKIT_STORE", "/nowhere")

        assert "greeting" in run("ls", "--store", str(store)).stdout


class TestShow:
    def test_a_line_an_entry_in_words(self, record, run):
        record()

        assert run("show", "greeting").stdout.splitlines() == [
            "0  load          13 B  model 'tiny-lm' by AutoModelForCausalLM",
            "1  tokenizer     10 B  encode(text='Say hi.')",
            "2  step        2.0 kB  forward(input_ids=Tensor(int64 [1, 200]))",
            "3  generation    17 B  sample(input_ids=Tensor(int64 [1, 200]), seed=7, occurrence=0)",
            "4  tokenizer     35 B  decode(token_ids=[-1]), which raised OverflowError",
        ]

    def test_a_limit_tells_what_is_left_out(self, record, run):
        record()

        assert len(run("show", "greeting", "--limit", "2").stdout.splitlines()) == 3
        assert run("show", "greeting", "--limit", "2").stdout.endswith("3 more; --limit 0 shows all\n")
        assert len(run("show", "greeting", "--limit", "0").stdout.splitlines()) == 5

    def test_json_tells_digests_too(self, record, run):
        record()

        first, *_ = json.loads(run("show", "greeting", "--json").stdout)
        assert (first["entry"], first["op"], first["size_bytes"]) == (0, "load", 13)
        assert all(len(first[name]) == 64 for name in ("key", "outcome", "provenance"))

    def test_the_repository_decides_between_equal_names(self, record, run):
        record(repository="theirs")
        record(repository="others")

        assert run("show", "greeting").exit_code == 3
        assert run("show", "greeting", "--repository", "theirs").exit_code == 0

    def test_a_name_that_is_none_names_those_like_it(self, record, run):
        record()

        done = run("show", "greetings")

        assert (done.exit_code, done.stdout) == (3, "")
        assert done.stderr.startswith("replaykit: there is no recording named 'greetings'\n")
        assert "nearest    greeting\n" in done.stderr


class TestInfo:
    def test_where_the_store_is_and_what_is_in_force(self, record, run, store):
        record()

        facts = dict(re.split(r"  +", line, maxsplit=1) for line in run("info").stdout.splitlines())
        assert facts["store"] == str(store)
        assert (facts["mode"], facts["fidelity"]) == ("strict", "auto")
        assert facts["holds"].startswith("1 recording, ")

    @pytest.mark.parametrize("arguments", [["ls"], ["show", "greeting"], ["info"]], ids=" ".join)
    def test_a_store_that_is_not_there_is_one_exit_code_everywhere(self, run, store, arguments):
        done = run(*arguments)

        assert done.exit_code == 6
        assert done.stderr.startswith("replaykit: there is no store\n")
        assert not store.exists()

    def test_without_a_store_the_settings_are_shown_all_the_same(self, run, store):
        facts = dict(re.split(r"  +", line, maxsplit=1) for line in run("info").stdout.splitlines())

        assert (facts["store"], facts["mode"], facts["holds"]) == (str(store), "strict", "nothing that can be read")
        assert json.loads(run("info", "--json").stdout)["holds"] is None

    def test_json(self, record, run, store):
        record()

        facts = json.loads(run("info", "--json").stdout)
        assert facts["store"] == str(store)
        assert (facts["holds"]["recordings"], facts["holds"]["readonly"]) == (1, False)

    def test_a_recording_under_way_is_told(self, record, run, store):
        with Store.open(store) as opened:
            from tests.store.samples import sample

            recorder = opened.begin("ours", "unfinished")
            recorder.add(*sample(1))
            recorder.flush()

            assert "1 session not sealed yet" in run("info").stdout
            recorder.drop()


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["ls"], 6, "replaykit: there is no store\n"),
            (["show", "greeting"], 6, "replaykit: there is no store\n"),
            (["show", "No Name"], 2, "replaykit: 'No Name' cannot name a recording"),
            (["ls", "--wrong"], 2, "No such option"),
            (["wrong"], 2, "No such command"),
            (["show"], 2, "Missing argument"),
        ],
    )
    def test_one_message_and_the_familys_number(self, run, arguments, code, message):
        done = run(*arguments)

        assert (done.exit_code, done.stdout) == (code, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_damaged_store_is_a_message(self, record, run, store):
        record()
        (store / "FORMAT").write_text("something else")

        done = run("ls")
        assert (done.exit_code, done.stderr.splitlines()[0]) == (
            6,
            "replaykit: not a store's FORMAT file: it begins with 'something else'",
        )

    def test_a_wrong_setting_is_a_message(self, run, monkeypatch):
        monkeypatch.setenv("REPLAYKIT_FIDELITY", "some")

        assert run("info").exit_code == 2

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (errors.ReplaykitError, 1),
            (errors.UsageError, 2),
            (errors.NotRecordedError, 3),
            (errors.RecordingNotFoundError, 3),
            (errors.LineageError, 4),
            (errors.FidelityError, 5),
            (errors.CorruptError, 6),
            (errors.RemoteError, 7),
            (errors.UnsupportedError, 8),
        ],
    )
    def test_exit_codes_are_append_only(self, error, code):
        assert exit_code(error("no")) == code

    def test_families_have_numbers_of_their_own(self):
        assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


class TestOutput:
    def test_version(self, run):
        import replaykit

        assert run("--version").stdout == f"replaykit {replaykit.__version__}\n"

    @pytest.mark.parametrize(
        "arguments", [["--help"], ["ls", "-h"], ["show", "--help"], ["info", "--help"]], ids=" ".join
    )
    def test_help_has_examples(self, run, arguments):
        assert "Examples:\n" in run(*arguments).stdout

    def test_there_are_no_colours(self, record, run):
        record()

        for arguments in (["--help"], ["ls"], ["show", "greeting"], ["info"], ["show", "no"]):
            done = run(*arguments)
            assert "\x1b" not in done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("size_bytes", "text"),
        [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (2 * 10**12, "2.0 TB"),
        ],
    )
    def test_sizes_are_said_as_people_do(self, size_bytes, text):
        assert size(size_bytes) == text

    def test_times_are_utc(self):
        assert moment(0) == "1970-01-01 00:00 UTC"

    def test_one_thing_is_singular(self):
        assert [count(number, "object") for number in (0, 1, 2000)] == ["0 objects", "1 object", "2,000 objects"]


def test_it_runs_as_a_module():
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", "replaykit", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: replaykit [OPTIONS] COMMAND")
