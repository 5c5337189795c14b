"""A run as one page of HTML that needs nothing else: light and dark, for a desk and for a phone.

Names of a peer are hostile text: every value goes through `escape`, and the one script only hides rows.
"""

# ruff: noqa: E501 - a style sheet and pieces of HTML

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from .case import BAD, Verdict
from .link import Entry
from .report import again, printable, repro, rows_of, safe_line
from .runner import Result, Run

STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--fg:#1d2327;--dim:#69737b;--line:#dfe3e6;--card:#fff;
--ok:#1a7f4b;--bad:#c0352b;--odd:#a86a00;--info:#3567b0;--none:#7b858d}
@media(prefers-color-scheme:dark){:root{--bg:#14181b;--fg:#e4e8ea;--dim:#98a3ab;--line:#2d353b;--card:#1c2226;
--ok:#5fcf95;--bad:#ff8a7e;--odd:#f0b64f;--info:#8fb8f5;--none:#98a3ab}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem 1rem 4rem}h1{font-size:1.5rem;margin:0 0 .25rem}
h2{font-size:1.1rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
p.sub{color:var(--dim);margin:0}.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:1.2rem 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.5rem .9rem;cursor:pointer;
font:inherit;color:inherit;text-align:left}.tile b{display:block;font-size:1.35rem;line-height:1.2}
.tile[aria-pressed=true]{outline:2px solid var(--info)}.warn{border-left:4px solid var(--bad);
background:var(--card);padding:.7rem 1rem;margin:1rem 0}.v{font-weight:600;white-space:nowrap}
.pass{color:var(--ok)}.fail,.crash,.hang,.unstable,.error{color:var(--bad)}.nonstrict{color:var(--odd)}
.info{color:var(--info)}.n-a,.not-run{color:var(--none)}
details,.row{background:var(--card);border:1px solid var(--line);border-radius:.5rem;margin:.35rem 0;
padding:.45rem .8rem}details[open]{padding-bottom:.9rem}summary,.row{display:flex;flex-wrap:wrap;gap:.2rem .9rem;
align-items:baseline}summary{cursor:pointer}summary::marker{content:""}.id{font-family:ui-monospace,monospace;
font-size:.86rem;overflow-wrap:anywhere}.clause{color:var(--dim);font-size:.86rem;margin-left:auto}
dl{display:grid;grid-template-columns:7rem 1fr;gap:.25rem .8rem;margin:.8rem 0}dt{color:var(--dim)}dd{margin:0;
overflow-wrap:anywhere}table{border-collapse:collapse;width:100%;font:.8rem/1.45 ui-monospace,monospace}
td{padding:.1rem .7rem .1rem 0;vertical-align:top;overflow-wrap:anywhere}td:first-child{color:var(--dim)}
.wire{width:auto}.wire td:first-child{white-space:nowrap}.wire td:last-child{min-width:8rem}
.pdu{margin:.7rem 0 .15rem;font-weight:600;font-size:.9rem}pre{overflow:auto;background:var(--bg);padding:.7rem;
border-radius:.4rem;font-size:.8rem;border:1px solid var(--line)}.scroll{overflow-x:auto}
.matrix .id{min-width:13rem}.matrix td,.matrix th{padding:.2rem .6rem;text-align:left;border-bottom:1px solid var(--line)}
@media(max-width:40rem){dl{grid-template-columns:1fr;gap:0}dt{margin-top:.4rem}.clause{margin-left:0}}
@media print{.tiles{display:none}details{break-inside:avoid}}
"""
SCRIPT = """
const on=new Set();document.querySelectorAll('button.tile').forEach(b=>b.addEventListener('click',()=>{
const v=b.dataset.v;on.has(v)?on.delete(v):on.add(v);b.setAttribute('aria-pressed',on.has(v));
document.querySelectorAll('[data-verdict]').forEach(r=>{r.hidden=on.size>0&&!on.has(r.dataset.verdict)})}));
"""


def text(value: object) -> str:
    """A value as HTML."""
    return escape(printable(str(value)))


def cssname(verdict: object) -> str:
    """A verdict as a class."""
    return str(verdict).replace("/", "-")


def frame(title: str, body: str) -> str:
    """A whole page."""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        "<meta http-equiv=Content-Security-Policy"
        " content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body><main>{body}</main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def to_html(run: Run) -> str:
    """The run as a page: what failed first and open, the rest by group."""
    name = " ".join(str(run.sut.get(key, "")) for key in ("name", "version")).strip()
    where = f"{run.sut.get('host', '')}:{run.sut.get('port', '')}"
    counts = Counter(str(result.verdict) for result in run.results)
    tiles = "".join(
        f'<button class="tile {cssname(v)}" data-v="{cssname(v)}" aria-pressed=false><b>{n}</b>{text(v)}</button>'
        for v, n in sorted(counts.items(), key=lambda one: list(Verdict).index(Verdict(one[0])))
    )
    bad = [result for result in run.results if result.finding(run.options.strict)]
    bad.sort(key=lambda result: result.verdict not in BAD)
    body = [
        f"<h1>{text(name or where)}</h1><p class=sub>{'client' if run.role == 'scu' else 'server'} {text(where)},"
        f" edition {text(run.edition)}, exit code {run.exit_code}</p>",
        "".join(f"<p class=warn>{text(one)}</p>" for one in _warnings(run)),
        f"<div class=tiles>{tiles}</div>",
    ]
    if bad:
        body.append("<h2>Findings</h2>" + "".join(_finding(run, result) for result in bad))
    broken = [one for one in run.ambient if one.broken]
    if broken:
        cells = "".join(
            f"<tr><td>{one.broken}<td>{text(one.rule.id)}<td>{text(one.rule.clause)}<td>{text(one.rule.requirement)}"
            for one in broken
        )
        body.append(f"<h2>Rules broken</h2><div class=scroll><table>{cells}</table></div>")
    for group in dict.fromkeys(result.case.group for result in run.results):
        body.append(f"<h2>{text(group)}</h2>")
        body += [_row(run, one) for one in run.results if one.case.group == group and one not in bad]
    return frame(f"Conformance of {name or where}", "".join(body))


def _warnings(run: Run) -> Iterator[str]:
    if run.yes_man:
        yield "This peer says yes to what nobody can do: its passes mean little."
    if run.unreachable:
        yield f"Not reachable: {run.unreachable}"
    if run.sanity_failed:
        yield "The sanity case failed; the rest was not run."
    for name in run.gone:
        yield f"The baseline expects a finding that did not come: {name}"


def _head(result: Result) -> str:
    case = result.case
    return (
        f'<span class="v {cssname(result.verdict)}">{text(result.verdict)}</span>'
        f"<span class=id>{text(case.id)}</span><span class=clause>{text(case.clause)}, {text(case.level)}</span>"
    )


def _row(run: Run, result: Result) -> str:
    if result.verdict not in (Verdict.PASS, Verdict.NA, Verdict.NOT_RUN):
        return _details(run, result, opened=False)
    note = f"<span class=clause>{text(result.blame)}</span>" if result.blame else ""
    return (
        f'<div class=row data-verdict="{cssname(result.verdict)}" title="{text(result.case.requirement)}">'
        f"{_head(result)}{note}</div>"
    )


def _finding(run: Run, result: Result) -> str:
    return _details(run, result, opened=result.verdict in BAD)


def _details(run: Run, result: Result, *, opened: bool) -> str:
    case = result.case
    facts = {
        "Required": case.requirement,
        "Expected": case.expected,
        "Seen": result.outcome + (f" (repeats: {', '.join(result.repeats)})" if result.repeats else ""),
        "Note": result.blame,
        "Baseline": result.baseline,
        "Again": again(run, case),
    }
    listed = "".join(f"<dt>{text(key)}<dd>{text(value)}" for key, value in facts.items() if value)
    last = max((entry.connection for entry in result.trace), default=0)
    wire_log = "".join(_entry(one, case.role) for one in result.trace if one.connection == last)
    script = ""
    if run.role == "scp" and opened:
        code = repro(result, str(run.sut.get("host", "")), int(str(run.sut.get("port", 0))))
        shown = "\n".join(map(text, code.split("\n")))
        script = f"<details><summary>A script that repeats it</summary><pre>{shown}</pre></details>"
    return (
        f'<details data-verdict="{cssname(result.verdict)}"{" open" if opened else ""}>'
        f"<summary>{_head(result)}</summary><dl>{listed}</dl>{wire_log}{script}</details>"
    )


def _entry(entry: Entry, role: str) -> str:
    shown = safe_line(entry)
    way = "sent" if entry.way == ">" else "came"
    title = f"{way} after {shown['t']} s: {shown.get('pdu', '')} {shown['what']}, {shown['length']} bytes"
    if not entry.raw or entry.note:
        return f"<p class=pdu>{text(title)}</p>"
    cells = "".join(
        f"<tr><td>{at:04x}<td>{text(said)}<td>{text(name)}" for at, said, name in rows_of(entry, role)[:60]
    )
    return f"<p class=pdu>{text(title)}</p><div class=scroll><table class=wire>{cells}</table></div>"


def matrix(runs: list[dict[str, object]]) -> str:
    """Several results, as their JSON has them, side by side: a row a case, a column a peer."""
    peers: list[str] = []
    table: dict[str, dict[int, str]] = {}
    for column, run in enumerate(runs):
        sut = run.get("sut")
        named = sut if isinstance(sut, dict) else {}
        peers.append(
            " ".join(str(named.get(key, "")) for key in ("name", "version")).strip() or f"run {column}"
        )
        results = run.get("results")
        for result in results if isinstance(results, list) else []:
            table.setdefault(str(result["id"]), {})[column] = str(result["verdict"])
    head = "".join(f"<th>{text(peer)}" for peer in peers)
    kinds = {
        name: "alike" if len({found.get(n) for n in range(len(peers))}) == 1 else "differs"
        for name, found in table.items()
    }
    tiles = "".join(
        f'<button class=tile data-v="{kind}" aria-pressed=false><b>{n}</b>{kind}</button>'
        for kind, n in sorted(Counter(kinds.values()).items(), reverse=True)
    )
    lines = "".join(
        f'<tr data-verdict="{kinds[name]}"><td class=id>{text(name)}'
        + "".join(
            f'<td class="v {cssname(found.get(n, ""))}">{text(found.get(n, ""))}' for n in range(len(peers))
        )
        for name, found in table.items()
    )
    body = f"<h1>Conformance, side by side</h1><div class=tiles>{tiles}</div><div class=scroll><table class=matrix><tr><th>{head}{lines}</table></div>"
    return frame("Conformance, side by side", body)
