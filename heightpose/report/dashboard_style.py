"""Style and script of the dashboard's page: everything in the file, nothing fetched."""

from __future__ import annotations

import json
from typing import Any

from heightpose.report.page import Html

STYLE = Html(
    """<style>
nav { position: sticky; top: 0; z-index: 2; display: flex; gap: .2rem 1rem; flex-wrap: wrap; padding: .45rem 0;
  background: var(--paper); border-bottom: 1px solid var(--line); font-size: .92rem; }
nav a, p a, td a { color: var(--one); }
h2 { scroll-margin-top: 5rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 10rem), 1fr));
  margin: 1rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem .7rem; }
.card b { display: block; overflow-wrap: anywhere; font-size: clamp(1.1rem, 3.6vw, 1.4rem); }
.card span { display: block; font-size: .85rem; overflow-wrap: anywhere; }
.stack { display: grid; gap: .9rem; }
th, td { padding: .3rem .55rem; }
.stack figure { max-width: 62rem; } .small figure { max-width: 38rem; margin-bottom: .5rem; }
.stack + .wide, .stack + .plots { margin-top: 1rem; }
.wide > svg.plot { min-width: 38rem; }
@media (max-width: 44rem) { nav { position: static; } }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; padding: .1rem .75rem 0 3.2rem; font-size: .85rem; }
.legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .35rem; }
a.src { color: var(--one); font-size: .75rem; text-decoration: none; padding-left: .2rem; white-space: nowrap; }
svg.plot a circle { cursor: pointer; } svg.plot a:hover circle, svg.plot a:focus circle { stroke: var(--ink);
  stroke-width: 2; }
svg.plot .lines { stroke: var(--line); }
td.tint { text-align: right; font-variant-numeric: tabular-nums; }
td ul { margin: 0; padding-left: 1.1rem; } td li { margin: 0 0 .1rem; }
.meter { display: inline-block; height: .55rem; background: var(--one); border-radius: .2rem; vertical-align: middle;
  margin-right: .4rem; }
code { font: .82rem ui-monospace, monospace; overflow-wrap: anywhere; }
tr:target td { background: color-mix(in srgb, var(--two) 22%, transparent); }
tr { scroll-margin-top: 6rem; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--dim); }
.reasons { min-width: 20rem; }
@media (max-width: 44rem) { /* on a phone the reasons stand below what they are for, not beyond the edge */
  table:has(.reasons) thead { display: none; } .reasons { min-width: 0; }
  tr:has(.reasons), tr:has(.reasons) td { display: block; width: auto; text-align: left; }
  tr:has(.reasons) { padding: .5rem 0; border-bottom: 1px solid var(--line); }
  tr:has(.reasons) td { border: 0; padding: .05rem .2rem; white-space: normal; }
  tr:has(.reasons) .name { width: auto; max-width: none; }
  tr:has(.reasons) td:nth-child(1)::before { content: "rank "; }
  tr:has(.reasons) td:nth-child(2) { font-weight: 600; }
  tr:has(.reasons) td:nth-child(3)::before { content: "share of the budget "; }
  tr:has(.reasons) td:nth-child(4)::before { content: "gain "; }
}
.changes { min-width: 16rem; max-width: 26rem; overflow-wrap: anywhere; } .nowrap { white-space: nowrap; }
#bar { position: fixed; inset: auto 0 0 0; z-index: 3; display: none; padding: .5rem clamp(.8rem, 3vw, 2.5rem);
  background: var(--card); border-top: 2px solid var(--one); font-size: .85rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
#bar.on { display: block; }
@media print { nav, #bar { display: none; } }
</style>"""
)

#: Where a number comes from, shown while one points at its mark; a click goes to the record's row.
_SCRIPT = """
const records = JSON.parse(document.getElementById("data").textContent).records;
const bar = document.getElementById("bar");
function show(event) {
  const link = event.target.closest ? event.target.closest('a[href^="#r"]') : null;
  const record = link && records[link.getAttribute("href").slice(1)];
  bar.classList.toggle("on", Boolean(record));
  if (!record) return;
  const tip = link.querySelector("title");
  bar.textContent = (tip ? tip.textContent : record.file + "\\n" + record.command);
}
for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, show);
function open() {
  const row = location.hash && document.getElementById(location.hash.slice(1));
  for (let node = row; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  if (row) row.scrollIntoView({block: "center"});
}
addEventListener("hashchange", open);
open();
"""


def script(data: dict[str, Any]) -> Html:
    """The page's data as JSON and the few lines that show where a number comes from."""
    # "<" is written as an escape, so that no text from a record can end the element.
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Html(
        f'<output id="bar"></output>\n<script type="application/json" id="data">{text}</script>\n'
        f"<script>{_SCRIPT}</script>"
    )
