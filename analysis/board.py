"""The board: the runs under a folder on a live page, while they run and after.

    python -m analysis.board [RESULTS] [--host HOST] [--port PORT]

RESULTS: a folder of results (default: results), of one study or of one run, copied ones too; or s3://bucket/prefix. It reads run.json
and the tables and writes nothing. It listens on this machine alone unless told otherwise, and answers only to whoever has the token of
its address. What a run says is text wherever it stands.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import importlib.util
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote

from analysis.core import records
from analysis.core.report import printable

EVERY = 2.0  # seconds between two looks at a run
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
"""Nothing is fetched from or sent to elsewhere. NiceGUI's templates are compiled in the browser, which wants 'unsafe-eval'."""


class Token:
    """Lets pass, of HTTP and of websockets, what carries the token: once in the address, from then on in a cookie, which pages of
    other sites cannot send."""

    def __init__(self, app: Callable, token: str, port: int) -> None:
        self.app, self.token, self.cookie = app, token, f"stillroom-{port}"

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        query = parse_qs(scope["query_string"].decode("latin-1"))
        cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        held = cookie is not None and self._is_it(cookie.value)
        strange = headers.get("origin", "").partition("://")[2] not in ("", headers.get("host"))
        if scope["type"] == "http" and self._is_it(query.get("token", [""])[0]):
            kept = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
            return await _answer(send, 303, {"location": scope["path"], "set-cookie": kept})
        if strange or not held:
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1008})
            return await _answer(send, 403, {}, b"The address that the board printed has a token: open that one.\n")

        async def guarded(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, guarded)

    def _is_it(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())


async def _answer(send: Callable, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    known = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer")]
    pairs = [*known, *((key.encode(), value.encode()) for key, value in headers.items())]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def pages(results: Any) -> None:
    """The one page of the board, in NiceGUI. results: a `live.Results`."""
    from nicegui import ui

    from analysis.core import live

    one = threading.Lock()  # of what was read, and of matplotlib

    def looked(key: str | None, asked: dict[str, Any], before: Any) -> dict[str, Any] | None:
        """What the page shows; None where nothing has changed. Runs in a thread."""
        with one:
            entries = results.entries()
            entry = next((e for e in entries if e.key == key), entries[0] if key is None and entries else None)
            found: dict[str, Any] = {"entries": entries, "entry": entry, "problem": "", "look": None, "view": None}
            if entry is None:
                return found | {"problem": f"there is no run {key}" if key else f"no run under {results.root} yet", "mark": 0}
            if entry.problem:
                return found | {"problem": entry.problem, "mark": 0}
            look = results.look(entry)
            found |= {"look": look, "mark": (look, str(asked))}
            if found["mark"] == before or look.run is None:
                return found
            view = live.selected(look.run, asked)
            if view is None:
                return found
            chosen = live.best(look.run, view)
            return found | {
                "view": view, "best": live.said(chosen), "png": live.picture(look.run, view, chosen),
                "turning": live.turning(look.run, view, chosen), "axes": live.axes(look.run), "metrics": live.metrics(look.run),
                "panels": [look.run.named(axes) for axes in live.panels(look.run, view)][:MOST],
            }  # fmt: skip

    @ui.page("/")
    def board(run: str | None = None) -> None:
        asked: dict[str, Any] = {}
        state: dict[str, Any] = {"mark": None, "busy": False}
        ui.colors(primary="#0072B2")
        with ui.row().classes("w-full no-wrap items-start gap-6"):
            with ui.column().classes("w-80 shrink-0"):
                ui.label("Stillroom").classes("text-h5")
                runs = ui.column().classes("w-full gap-1")
            with ui.column().classes("grow min-w-0"):
                title = ui.label().classes("text-h5")
                said = ui.label().classes("text-subtitle1")
                bar = ui.linear_progress(0, show_value=False, size="12px").props("instant-feedback")
                numbers = ui.label()
                problem = ui.label().classes("text-negative")
                with ui.row() as choosing:
                    selects = {name: ui.select([], label=text).classes("w-48") for name, text in SELECTS.items()}
                ui.label("Best so far: chosen on validation among the cells that are done").classes("text-subtitle1")
                chosen = ui.table(rows=[], columns=[]).props("dense flat bordered wrap-cells").classes("w-full")
                plane = ui.image().props("no-spinner no-transition").classes("w-full max-w-6xl")
                surface = ui.plotly({}).classes("w-full max-w-4xl h-[460px]")
                lost_title = ui.label().classes("text-subtitle1")
                lost = ui.table(rows=[], columns=[], pagination=10).props("dense flat bordered wrap-cells").classes("w-full")

        def listed(entries: list, current: Any) -> None:
            shown = [(e.key, str(e.info.get("status", e.problem and "unreadable"))) for e in entries]
            if state.get("runs") == (shown, current and current.key):
                return
            state["runs"] = shown, current and current.key
            runs.clear()
            with runs:
                for key, status in shown:
                    link = ui.link(f"{key}", f"/?run={quote(key)}").classes("no-underline break-all")
                    link.classes("font-bold" if current is not None and key == current.key else "")
                    ui.label(status[:80]).classes("text-caption text-grey-8 pl-3")

        def show(found: dict[str, Any]) -> None:
            look, view = found["look"], found["view"]
            listed(found["entries"], found["entry"])
            title.text = found["entry"].key if found["entry"] else ""
            problem.text = found["problem"]
            for part in (bar, numbers, said):
                part.visible = look is not None
            if look is None:
                for part in (choosing, chosen, plane, surface, lost, lost_title):
                    part.visible = False
                return
            said.text = live.of_state(look, time.time())
            bar.value = look.progress.ended / max(look.progress.total, 1)
            numbers.text = live.numbers(look, time.time())
            if found["mark"] == state["mark"]:
                return
            state["mark"] = found["mark"]
            _fill(lost, look.failures.astype(str).to_dict("records"))
            lost_title.text = f"Failed: {look.progress.failed}"
            lost.visible = lost_title.visible = look.progress.failed > 0
            for part in (choosing, chosen, plane):
                part.visible = view is not None
            surface.visible = view is not None and found["turning"] is not None
            if view is None:
                return
            options = {"x": found["axes"], "y": found["axes"], "z": found["metrics"]}
            for name, values in options.items():
                selects[name].set_options(values, value=getattr(view, name))
            titles = {None: "all", **dict(enumerate(found["panels"]))}
            selects["panel"].set_options({k: str(v)[:80] for k, v in titles.items()}, value=view.panel)
            selects["panel"].visible = len(found["panels"]) > 1
            _fill(chosen, found["best"])
            plane.set_source("data:image/png;base64," + base64.b64encode(found["png"]).decode())
            if found["turning"] is not None:
                surface.update_figure(found["turning"])

        async def refresh() -> None:
            if state["busy"]:
                return
            state["busy"] = True
            try:
                found = await asyncio.to_thread(looked, run, dict(asked), state["mark"])
                show(found)
            except records.RecordsError as error:
                problem.text = printable(str(error))
            finally:
                state["busy"] = False

        def choose(name: str, value: Any) -> None:
            if value is not None or name == "panel":
                asked[name] = value

        for name, select in selects.items():
            select.on_value_change(lambda event, name=name: choose(name, event.value))
        ui.timer(EVERY, refresh)


MOST = 200  # panels to choose from
SELECTS = {"z": "metric", "x": "across", "y": "upwards", "panel": "panel"}


def _fill(table: Any, lines: list[dict[str, str]]) -> None:
    """Columns by their number, so that no name of a stranger's is a key of ours."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    table.columns = [{"name": str(i), "label": name, "field": str(i), "align": "left"} for i, name in enumerate(names)]
    table.rows = [{"id": k} | {str(i): line.get(name, "") for i, name in enumerate(names)} for k, line in enumerate(lines)]
    table.update()


def main(words: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.board", description="A live page of runs.")
    parser.add_argument("results", nargs="?", default="results", help="folder or s3://bucket/prefix (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="where it listens (default: %(default)s, this machine alone)")
    parser.add_argument("--port", type=int, default=0, help="its port (default: one that is free)")
    given = parser.parse_args(words)
    if importlib.util.find_spec("nicegui") is None:
        print("board: needs an extra: pip install 'stillroom[board]'", file=sys.stderr)
        return 2
    from analysis.core import live, tell

    try:
        results = live.Results(given.results)
        found = results.entries()
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((given.host, given.port))
            port = free.getsockname()[1]
    except (records.RecordsError, OSError, OverflowError) as error:
        print(printable(f"board: {error}"), file=sys.stderr)
        return 2
    from nicegui import app, ui

    token = secrets.token_urlsafe(24)
    app.add_middleware(Token, token=token, port=port)
    pages(results)
    said = f"{tell.count(len(found), 'run')} under {results.root}\nhttp://{given.host}:{port}/?token={token}"
    app.on_startup(lambda: print(said, flush=True))
    ui.run(host=given.host, port=port, title="Stillroom", reload=False, show=False, show_welcome_message=False, favicon="⚗")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
