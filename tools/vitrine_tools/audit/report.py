"""One self-contained HTML page: who opened what when, refusals, door-open times, gaps and seals.

No script, no font, no address: it can be mailed, archived and opened without a network. All text in it came from locks
or from the database and is escaped. Plots are drawn so that they stay readable on a phone: text is HTML and wraps,
only the bars stretch.
"""

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Final

from .. import describe, when
from . import figures as counting
from .export import time_text
from .figures import STEPS_S, Figures, Opening
from .query import Entry
from .verdict import JournalVerdict

_BINS: Final = 240
_HEIGHT: Final = 40
_ROWS: Final = 25
_LONG_S: Final = 300


def page(entries: Sequence[Entry], verdicts: Iterable[JournalVerdict]) -> str:
    """Return the page about `entries` and the verdicts on the journals that they are from."""
    figures = counting.count(entries)
    verdicts = list(verdicts)
    style = resources.files("vitrine_tools.audit").joinpath("report.css").read_text()
    body = [
        _head(figures),
        _tiles(figures, verdicts),
        _section("Evidence", "Each record is sealed by its lock; here every seal was checked again.", _seals(verdicts)),
        _section("Who opened what, when", "One bar for a span of time; its height is how often.", _openings(figures)),
        _section("Refusals by reason", "Attempts, floods included by their count.", _refusals(figures)),
        _section("How long doors stood open", "From opening to closing.", _doors(figures)),
        _section("Alarms", "", _alarms(figures)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Audit report</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(figures: Figures) -> str:
    span = "no records with a time"
    if figures.first_s is not None and figures.last_s is not None:
        span = f"{_minute(figures.first_s)} to {_minute(figures.last_s)}, UTC"
    locks = ", ".join(sorted(figures.locks)) or "no locks"
    return f"<h1>Audit report</h1>\n<p class=soft>{_text(span)}<br>{_text(locks)}</p>"


def _tiles(figures: Figures, verdicts: list[JournalVerdict]) -> str:
    is_whole = bool(verdicts) and all(verdict.is_whole for verdict in verdicts)
    tiles = [
        (f"{figures.records}", "records", ""),
        (f"{len(figures.openings)}", "openings", ""),
        (f"{figures.refusals.total()}", "refusals", ""),
        (f"{len(figures.alarms)}", "alarms", "bad" if figures.alarms else ""),
        ("✓ yes" if is_whole else "✗ no", "evidence whole", "good" if is_whole else "bad"),
    ]
    return "<div class=tiles>" + "".join(
        f'<div><b class="{kind}">{_text(value)}</b><small>{name}</small></div>' for value, name, kind in tiles
    ) + "</div>"  # fmt: skip


def _section(title: str, note: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n" + (f"<p class=soft>{note}</p>\n" if note else "") + body + "\n</section>"


def _seals(verdicts: list[JournalVerdict]) -> str:
    if not verdicts:
        return "<p>There are no journals.</p>"
    parts = []
    for verdict in verdicts:
        mark, kind = ("✓", "good") if verdict.is_whole else ("✗", "bad")
        parts.append(f"<p><b class={kind}>{mark}</b> {_text(verdict.summary)}</p>")
        found = "".join(
            f"<li{'' if each.is_harmless else ' class=bad'}>{_text(each.text)}</li>" for each in verdict.findings
        )
        parts.append(f"<ul>{found}</ul>" if found else "")
    return "\n".join(parts)


def _openings(figures: Figures) -> str:
    if not figures.openings or figures.first_s is None or figures.last_s is None:
        return "<p>Nobody opened anything.</p>"
    first_s, last_s = figures.first_s, max(figures.last_s, figures.first_s + 1)
    lanes = [
        _lane(lock_id, [each for each in figures.openings if each.lock_id == lock_id], first_s, last_s)
        for lock_id in sorted({opening.lock_id for opening in figures.openings})
    ]
    axis = f"<div><span>{_minute(first_s)}</span><span>{_minute(last_s)}</span></div>"
    rows = "".join(
        f"<tr><td>{_text(person)}</td><td>{_text(lock_id)}</td><td class=n>{number}</td>"
        f"<td class=time>{_minute(_last(figures, person, lock_id))}</td></tr>"
        for (person, lock_id), number in figures.by_person.most_common(_ROWS)
    )
    more = len(figures.by_person) - _ROWS
    return (
        "\n".join(lanes)
        + f'<div class="axis lane"><span></span>{axis}</div>'
        + "<div class=scroll><table><tr><th>person<th>lock<th class=n>times<th>last</tr>"
        + f"{rows}</table></div>"
        + (f"<p class=soft>and {more} others</p>" if more > 0 else "")
    )


def _last(figures: Figures, person: str, lock_id: str) -> int:
    return max(each.time_s for each in figures.openings if (each.person, each.lock_id) == (person, lock_id))


def _lane(lock_id: str, openings: list[Opening], first_s: int, last_s: int) -> str:
    bins: dict[int, list[Opening]] = {}
    for opening in openings:
        at = min(_BINS - 1, (opening.time_s - first_s) * _BINS // (last_s - first_s))
        bins.setdefault(at, []).append(opening)
    most = max(map(len, bins.values()))
    bars = []
    for at, inside in sorted(bins.items()):
        height = max(6, _HEIGHT * len(inside) // most)
        who = ", ".join(f"{person} {n}x" for person, n in Counter(each.person for each in inside).most_common(4))
        title = f"{_minute(inside[0].time_s)}: {who}"
        bars.append(
            f'<rect x="{at}" y="{_HEIGHT - height}" width="0.9" height="{height}"><title>{_text(title)}</title></rect>'
        )
    label = f"{len(openings)} openings of {lock_id}"
    return (
        f"<div class=lane><span>{_text(lock_id)}</span>"
        f'<svg viewBox="0 0 {_BINS} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{_text(label)}">'
        + "".join(bars)
        + "</svg></div>"
    )


def _refusals(figures: Figures) -> str:
    if not figures.refusals:
        return "<p>Nobody was refused.</p>"
    return _bars("refused", figures.refusals.most_common())


def _doors(figures: Figures) -> str:
    if not figures.stays:
        return "<p>No door was opened and closed.</p>"
    names = [f"up to {when.duration_text(step_s)}" for step_s in STEPS_S]
    rows = list(zip([*names, f"over {when.duration_text(STEPS_S[-1])}"], figures.steps, strict=True))
    long = sorted((stay for stay in figures.stays if stay.open_s >= _LONG_S), key=lambda stay: -stay.open_s)[:5]
    items = "".join(
        f"<li>{_text(each.lock_id)}: {when.duration_text(each.open_s)} from {_minute(each.time_s)}</li>"
        for each in long
    )
    return _bars("door", rows) + (f"<p class=soft>The longest:</p><ul>{items}</ul>" if items else "")


def _alarms(figures: Figures) -> str:
    if not figures.alarms:
        return "<p>None.</p>"
    items = [
        f"<li>{_minute(entry.time_s or 0)} {_text(entry.lock_id)}: {_text(describe.describe(entry.fields).what)}</li>"
        for entry in figures.alarms[-_ROWS:]
    ]
    return f"<ul>{''.join(items)}</ul>"


def _bars(kind: str, rows: Sequence[tuple[str, int]]) -> str:
    most = max(number for _, number in rows)
    return "\n".join(
        f"<div class='bar {kind}'><span>{_text(name)}</span>"
        f'<i style="width:{100 * number / most:.1f}%{";min-width:0" if not number else ""}"></i><b>{number}</b></div>'
        for name, number in rows
    )


def _minute(unix_s: int) -> str:
    return time_text(unix_s)[:16].replace("T", " ")


def _text(text: str) -> str:
    return html.escape(text)
