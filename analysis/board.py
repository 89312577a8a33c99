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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote

import pandas as pd

from analysis.core import live, records, tell
from analysis.core.figures.scales import label
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


@dataclass(frozen=True)
class Found:
    """All runs, the one of a page, how far it is, and what is drawn of it; shown: nothing where that is what the page shows already."""

    entries: list[live.Entry]
    entry: live.Entry | None
    look: live.Look | None
    view: live.View | None = None
    shown: live.Shown | None = None


class Page:
    """What one browser sees of one run, or of the last one that was started. one: held by who reads runs or draws, in a thread beside
    the server's, for all pages share what was read, and matplotlib."""

    SELECTS: ClassVar = {"z": "metric", "x": "across", "y": "upwards", "panel": "panel"}

    def __init__(self, results: live.Results, run: str | None, one: threading.Lock) -> None:
        from nicegui import ui

        self.results, self.run, self.one = results, run, one
        self.asked: dict[str, Any] = {}
        self.seen: Any = None  # the look and the view that are shown
        self.listed: Any = None
        self.busy = False
        with ui.row().classes("w-full no-wrap items-start gap-6"):
            with ui.column().classes("w-56 shrink-0"):
                ui.label("Stillroom").classes("text-h5")
                self.runs = ui.column().classes("w-full gap-1")
            with ui.column().classes("grow min-w-0"):
                self.title = ui.label().classes("text-h5")
                self.problem = ui.label().classes("text-negative")
                with ui.column().classes("w-full") as self.all:
                    self.state = ui.label().classes("text-subtitle1")
                    self.bar = ui.linear_progress(0, show_value=False, size="12px")
                    self.numbers = ui.label()
                    with ui.column().classes("w-full") as self.drawn:
                        with ui.row():
                            self.selects = {name: self._select(name, text) for name, text in self.SELECTS.items()}
                        self.heading = ui.label().classes("text-subtitle1")
                        self.best = _table()
                        self.plane = ui.element("img").classes("w-full max-w-6xl")
                        self.surface = ui.plotly({}).classes("w-full max-w-4xl h-[460px]")
                    self.lost_title = ui.label().classes("text-subtitle1")
                    self.lost = _table()
        self.all.visible = self.drawn.visible = False
        ui.timer(EVERY, self.refresh)

    def _select(self, name: str, text: str) -> Any:
        from nicegui import ui

        return ui.select([], label=text, on_change=lambda event: self.asked.update({name: event.value})).classes("w-48")

    async def refresh(self) -> None:
        if self.busy:
            return
        self.busy, asked = True, dict(self.asked)
        try:
            found = await asyncio.to_thread(self.look, asked)
            self.show(found)
            if found.view and asked == self.asked:  # nobody chose anything meanwhile
                for name, select in self.selects.items():
                    select.value = getattr(found.view, name)
        except (
            Exception
        ) as error:  # of any kind: a stranger's tables may hold anything, and a storage may be away for a while
            self.problem.text = printable(
                f"{self.run or 'the last run'} cannot be shown: {str(error) or type(error).__name__}"
            )
        finally:
            self.busy = False

    def look(self, asked: Mapping[str, Any]) -> Found:
        with self.one:
            entries = self.results.entries()
            entry = next((e for e in entries if self.run in (None, e.key)), None)
            look = self.results.look(entry) if entry and not entry.problem else None
            if look is None or look.run is None:
                return Found(entries, entry, look)
            view = live.selected(look.run, asked)
            new = view is not None and self.seen != (look, view)
            return Found(entries, entry, look, view, live.show(look.run, view) if view and new else None)

    def show(self, found: Found) -> None:
        entry, look = found.entry, found.look
        self.links(found.entries, entry)
        missing = f"there is no run {self.run}" if self.run else f"no run under {self.results.root} yet"
        self.problem.text = printable(entry.problem if entry else missing)
        self.all.visible = look is not None
        if look is None:
            return
        self.state.text, self.numbers.text = live.state(look, time.time()), live.numbers(look, time.time())
        self.bar.value = look.progress.ended / max(look.progress.total, 1)
        self.drawn.visible = found.view is not None
        if self.seen == (look, found.view):
            return
        self.seen = look, found.view
        _fill(self.lost, look.failures)
        self.lost_title.text = f"Failed: {look.progress.failed}"
        self.lost.visible = self.lost_title.visible = look.progress.failed > 0
        if found.view and found.shown:
            self.draw(found.view, found.shown)

    def draw(self, view: live.View, shown: live.Shown) -> None:
        options: dict[str, Any] = {
            side: {name: label(name) for name in names}
            for side, names in {"z": shown.metrics, "x": shown.axes, "y": shown.axes}.items()
        }
        options["panel"] = {None: "all"} | {i: title[:80] for i, title in enumerate(shown.panels)}
        for name, values in options.items():
            self.selects[name].set_options(values, value=getattr(view, name))
        self.selects["panel"].visible = len(shown.panels) > 1
        self.heading.text = shown.heading
        _fill(self.best, pd.DataFrame(shown.best))
        self.plane.props["src"] = "data:image/png;base64," + base64.b64encode(shown.plane).decode()
        self.plane.props["alt"] = f"{label(view.z)} over {label(view.x)} and {label(view.y)}"
        self.surface.visible = shown.surface is not None
        if shown.surface:
            self.surface.update_figure(shown.surface)

    def links(self, entries: list[live.Entry], current: live.Entry | None) -> None:
        from nicegui import ui

        lines = [(e.key, str(e.info.get("status", e.problem and "unreadable")), e is current) for e in entries]
        if lines == self.listed:
            return
        self.listed, self.title.text = lines, current.key if current else ""
        self.runs.clear()
        with self.runs:
            for key, status, here in lines:
                ui.link(key, f"/?run={quote(key)}").classes(f"no-underline break-all {'font-bold' * here}")
                ui.label(status[:80]).classes("text-caption text-grey-8 pl-3")


def _table() -> Any:
    from nicegui import ui

    return ui.table(rows=[], columns=[]).props("dense flat bordered wrap-cells").classes("w-full max-h-96")


def _fill(table: Any, lines: pd.DataFrame) -> None:
    """Columns by their number, so that no name of a stranger's is a key of ours."""
    columns = [{"name": str(i), "label": str(name), "field": str(i), "align": "left"} for i, name in enumerate(lines)]
    table.columns = columns
    table.rows = [{str(i): str(value) for i, value in enumerate(line)} for line in lines.itertuples(index=False)]
    table.update()


def main(words: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.board", description="A live page of runs.")
    parser.add_argument(
        "results", nargs="?", default="results", help="folder or s3://bucket/prefix (default: %(default)s)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="where it listens (default: %(default)s, this machine alone)"
    )
    parser.add_argument("--port", type=int, default=0, help="its port (default: one that is free)")
    given = parser.parse_args(words)
    if importlib.util.find_spec("nicegui") is None:
        print("board: needs an extra: pip install 'stillroom[board]'", file=sys.stderr)
        return 2
    try:
        results = live.Results(given.results)
        away = given.results == parser.get_default("results") or "://" in given.results
        if not away and not Path(results.root).is_dir():
            raise records.RecordsError(f"there is no folder {given.results}")
        found = results.entries()
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((given.host, given.port))
            port = free.getsockname()[1]
    except (records.RecordsError, OSError, OverflowError) as error:
        print(printable(f"board: {error}"), file=sys.stderr)
        return 2
    from nicegui import app, ui

    token, one = secrets.token_urlsafe(24), threading.Lock()
    app.add_middleware(Token, token=token, port=port)

    @ui.page("/")
    def page(run: str | None = None) -> None:
        Page(results, run, one)

    said = f"{tell.count(len(found), 'run')} under {results.root}\nhttp://{given.host}:{port}/?token={token}"
    app.on_startup(lambda: print(said, flush=True))
    ui.run(
        host=given.host, port=port, title="Stillroom", reload=False, show=False, show_welcome_message=False, favicon="⚗"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
