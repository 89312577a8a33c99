"""The board: who is let in, and what a stranger's run can do there."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser

from analysis import board

ROOT = Path(__file__).parents[2]
SCRIPT = "<script>document.title='PWNED'</script><img src=x onerror=\"document.title='PWNED'\">{{constructor.constructor('document.title=`PWNED`')()}}"
needs_nicegui = pytest.mark.skipif(find_spec("nicegui") is None, reason="the extra `board` is not installed")


def accuracy(view, labels, t, w, seed):
    return None if (view, w, t) == ("source", 0.5, 1) else 0.6 + 0.1 * w + 0.01 * seed


def asked(kind, query="", **headers):
    """What is answered: the status, or "passed"; and the headers of the answer."""
    sent = []

    async def app(scope, receive, send):
        if kind == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": "/", "query_string": query.encode(), "headers": pairs}
    asyncio.run(board.Token(app, "secret", 80)(scope, None, send))
    first = sent[0] if sent else {"type": "passed"}
    told = {name.decode(): value.decode() for name, value in first.get("headers", ())}
    return first.get("status", first["type"]), told


HELD, HOST = "stillroom-80=secret", "127.0.0.1:80"


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({}, False),
        ({"cookie": "stillroom-80=guess"}, False),
        ({"cookie": "stillroom-81=secret"}, False),  # another board's
        ({"cookie": HELD, "host": HOST}, True),
        ({"cookie": HELD, "host": HOST, "origin": f"http://{HOST}"}, True),
        (
            {"cookie": HELD, "host": HOST, "origin": "http://127.0.0.1:81"},
            False,
        ),  # a page of another server on this machine
        ({"cookie": HELD, "host": HOST, "origin": "https://example.org"}, False),
    ],
)
def test_only_who_has_the_token_is_let_in(kind, headers, let_in):
    status, told = asked(kind, **headers)
    assert status == {"http": 200 if let_in else 403, "websocket": "passed" if let_in else "websocket.close"}[kind]
    assert ("content-security-policy" in told) == (let_in and kind == "http")


def test_the_token_of_the_address_becomes_a_cookie_that_no_script_and_no_other_site_has():
    status, told = asked("http", "token=secret")
    assert (
        status == 303
        and told["location"] == "/"
        and {"HttpOnly", "SameSite=Strict"} <= {*told["set-cookie"].split("; ")}
    )
    assert asked("http", "token=guess")[0] == asked("http", "token=")[0] == 403
    assert asked("websocket", "token=secret")[0] == "websocket.close"


def test_wrong_input_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    for words in ([str(tmp_path), "--port", "70000"], [str(tmp_path), "--host", "192.0.2.1"], ["gopher://x"]):
        if find_spec("nicegui"):
            assert board.main(words) == 2
            said = capsys.readouterr()
            assert said.out == "" and len(said.err.splitlines()) == 1, said
    if find_spec("nicegui"):
        assert board.main([str(tmp_path / "nothere")]) == 2
        assert capsys.readouterr().err == f"board: there is no folder {tmp_path / 'nothere'}\n"
        monkeypatch.chdir(tmp_path)
        for words in ([], ["results"], [f"file://{tmp_path}/nothere"]):  # the usual place, where a run may begin later, and elsewhere
            assert board.main([*words, "--port", "70000"]) == 2
            assert "no folder" not in capsys.readouterr().err
    monkeypatch.setattr(board.importlib.util, "find_spec", lambda name: None)
    assert board.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == "board: needs an extra: pip install 'stillroom[board]'\n"


@pytest.fixture
def page(tmp_path):
    found = Browser(tmp_path / "profile")
    found.ask("Emulation.setDeviceMetricsOverride", width=1600, height=1400, deviceScaleFactor=1, mobile=False)
    yield found
    found.close()


@pytest.fixture
def served(tmp_path):
    """Starts a board for a folder or URI; its address."""
    started = []

    def serve(results, **environment):
        words = [sys.executable, "-m", "analysis.board", str(results)]
        known = {
            k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"
        }  # by which NiceGUI knows tests of its own
        with (tmp_path / "board.log").open("w") as log:
            started.append(subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log, env=known | environment))
        for _ in range(600):
            said = (tmp_path / "board.log").read_text()
            if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", said):
                return found[0]
            assert started[-1].poll() is None, said
            time.sleep(0.1)
        raise AssertionError(said)

    yield serve
    for process in started:
        process.terminate()
        process.wait(60)


def shows(page, text, seconds=90):
    page.until(f"document.body.innerText.includes({json.dumps(text)})", seconds)


def open_board(page, address):
    for _ in range(100):  # until it listens
        page.open(address)
        if page.value("document.title") == "Stillroom":
            return
        time.sleep(0.3)
    raise AssertionError(page.value("document.body.innerText"))


@pytest.mark.faults
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@needs_nicegui
def test_in_a_browser_a_run_is_seen_to_grow_and_what_a_stranger_wrote_is_text(tmp_path, made_up_run, page, served):
    run = made_up_run(tmp_path / "results", accuracy, status="running")
    run = run.rename(run.with_name("<b>bold<"))
    whole = pq.read_table(run / "rows" / "a.parquet")
    lines = [
        {
            **line,
            "error": line["error"] and SCRIPT,
            "target_labels": SCRIPT if line["target_labels"] == "500" else "all",
        }
        for line in whole.to_pylist()
    ]
    hostile = whole.from_pylist(lines, schema=whole.schema)
    for table in ("students", "cells"):
        old = pq.read_table(run / table / "a.parquet")
        theirs = [
            {**line, "target_labels": SCRIPT if line["target_labels"] == "500" else "all"} for line in old.to_pylist()
        ]
        pq.write_table(old.from_pylist(theirs, schema=old.schema), run / table / "a.parquet")
    info = json.loads((run / "run.json").read_text())
    info["axes"]["target_labels"] = [SCRIPT, "all"]
    info |= {"data_description": SCRIPT, "preset": SCRIPT, "metric": "val_accuracy"}
    (run / "run.json").write_text(json.dumps(info))
    half = [line for line in hostile.to_pylist() if line["seed"] == 0]
    pq.write_table(hostile.from_pylist(half, schema=hostile.schema), run / "rows" / "a.parquet")
    bad = tmp_path / "results" / "mnistm_kd" / "damaged"
    shutil.copytree(run, bad)
    (bad / "run.json").write_text(json.dumps({"axes": SCRIPT}))
    address = served(tmp_path / "results")
    open_board(page, address)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address.partition("?")[0])
    shows(page, "mnistm_kd/<b>bold<")
    shows(page, "Best so far")
    students = pq.read_table(run / "students" / "a.parquet").num_rows
    shows(page, f"running, {len({line['student'] for line in half})} of {students} students")
    shows(page, "document.title='PWNED'")  # the reason of a failure, as text
    page.until("document.querySelector('img')?.naturalWidth > 1000")
    page.until("!!document.querySelector('.js-plotly-plot')?._fullLayout?.scene")
    page.picture(tmp_path / "middle.png")
    for place, choice, alt in ((0, "train loss", "train loss over temperature T"), (1, "seed", "train loss over seed")):
        page.value(f"document.querySelectorAll('.q-select')[{place}].querySelector('.q-field__control').click()")
        item = f"[...document.querySelectorAll('.q-menu .q-item')].find(e => e.innerText == '{choice}')"
        page.until(f"!!{item}")
        page.value(f"{item}.click()")
        page.until(f"document.querySelector('img').alt.startsWith('{alt}')")
    pq.write_table(hostile, run / "rows" / "b.parquet")
    shows(page, f"running, {students} of {students} students")
    (run / "run.json").write_text(json.dumps(info | {"status": f"done{SCRIPT}"}))
    shows(page, f"done{SCRIPT}, {students} of")
    page.picture(tmp_path / "end.png")
    assert page.value("document.title") == "Stillroom"
    assert not page.value("!!document.querySelector('img[src=x], b')")
    refused, fetched = page.refused()
    place = address.partition("?")[0]
    assert refused == [] and all(url.startswith((place, place.replace("http", "ws", 1))) for url in fetched)
    assert page.value("fetch('https://example.org').then(() => 'sent', () => 'refused')") == "refused"
    (run / "rows" / "b.parquet").write_bytes((run / "rows" / "b.parquet").read_bytes()[:-50])
    shows(page, "b.parquet is damaged")
    open_board(page, f"{place}?run=mnistm_kd/damaged")
    shows(page, "is not of a run")
    open_board(page, f"{place}?run=%3Cscript%3E..%2F..%2Fetc")
    shows(page, "there is no run <script>../../etc")
    assert page.value("document.title") == "Stillroom"
