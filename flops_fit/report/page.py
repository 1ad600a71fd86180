"""The report as a document: its look in light, dark and print, and the script for tables and figures.

Nothing is fetched from elsewhere. Figures are SVG in the page and not a plotting library's (plotly's alone is 4.5 MB):
they are sharp at any size, dark where the page is, and read without the script, which adds what a pointer finds.
"""

from __future__ import annotations

import html

from flops_fit.drawing.colours import DARK_PAPER

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5f6670; --line: #e3e6ea; --accent: #0072b2; --paper: #fff;
  --panel: #f5f7f9; --good: #009e73; --fair: #e69f00; --poor: #d55e00; --error: #a63c00; --warning: #8a5a00; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e7ec; --soft: #a3abb6; --line: #2b3037;
  --accent: #6cb8ea; --paper: DARK_PAPER; --panel: #1e2329; --error: #ff9a66; --warning: #f0bd5c; } }
@media print { :root { color-scheme: light; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; color: var(--ink);
  margin: 0 auto; max-width: 1080px; padding: 40px 28px 80px; background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -0.01em; } h2 { font-size: 20px; margin: 44px 0 10px; }
p.lead, p.note { color: var(--soft); margin: 0 0 22px; }
code, .law { font-family: ui-monospace, "Liberation Mono", monospace; }
.law { background: var(--panel); border-radius: 8px; padding: 14px 18px; font-size: 17px;
  margin-bottom: 14px; }
.verdict { border-left: 6px solid; border-radius: 6px; padding: 12px 18px; margin: 20px 0; background: var(--panel); }
.verdict b { font-size: 18px; }
.ok { border-color: var(--good); } .warn { border-color: var(--fair); } .bad { border-color: var(--poor); }
.table { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; width: 100%; font-size: 15px; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); padding: 6px 10px;
  vertical-align: bottom; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 6px 10px; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td.text { min-width: 9em; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; text-align: inherit;
  cursor: pointer; }
th button:hover { color: var(--ink); } th[aria-sort=ascending] button::after { content: " ↑"; }
th[aria-sort=descending] button::after { content: " ↓"; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.whole { white-space: nowrap; }
.tag { border-radius: 4px; padding: 1px 8px; font-size: 13px; white-space: nowrap; border: 1px solid; }
.tag.error { color: var(--error); } .tag.warning { color: var(--warning); } .tag.info { color: var(--soft); }
figure { margin: 22px 0 30px; } .picture { overflow-x: auto; }
.picture svg { display: block; width: 100%; min-width: 640px; height: auto; fill: currentColor; color: var(--ink);
  stroke-linejoin: round; }
figure.contours .picture svg { max-width: 680px; min-width: 480px; }
figcaption { color: var(--soft); font-size: 14px; margin-top: 6px; }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.6; pointer-events: none; }
#said { position: fixed; z-index: 1; max-width: min(360px, 92vw); padding: 8px 12px; border-radius: 6px;
  background: var(--ink); color: var(--paper); font-size: 13px; line-height: 1.45; white-space: pre-line;
  pointer-events: none; }
#said:empty { display: none; }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
pre { background: var(--panel); border-radius: 8px; padding: 14px 18px; overflow-x: auto; font-size: 13px; }
@media (max-width: 600px) { body { padding: 20px 14px 60px; } h1 { font-size: 24px; } .law { font-size: 14px; }
  table { font-size: 14px; white-space: nowrap; }
  th, td { padding: 5px 7px; } td.text { white-space: normal; min-width: 15em; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } pre { padding: 10px; } }
@media print { body { padding: 0; max-width: none; font-size: 12px; } figure, tr, .verdict { break-inside: avoid; }
  h2 { break-after: avoid; } .table, .picture { overflow: visible; } .picture svg { min-width: 0; }
  table { font-size: 10.5px; } th, td { padding: 3px 5px; } #said, .ring { display: none; } }
""".replace("DARK_PAPER", DARK_PAPER)

SCRIPT = """
const number = text => {
  const form = /^[^\\d+−-]{0,2}([+−-]?\\d+\\.?\\d*(?:e[+-]?\\d+)?)\\s?([kMBT](?![a-z]))?/i;
  const found = text.replace(/,/g, "").match(form);
  const size = { k: 1e3, m: 1e6, b: 1e9, t: 1e12 };
  return found ? Number(found[1].replace("−", "-")) * (found[2] ? size[found[2].toLowerCase()] : 1) : NaN;
};
const sort = (table, column, down) => {
  const rows = [...table.tBodies[0].rows], cell = row => row.cells[column].textContent.trim();
  const empty = text => text === "" || text === "–";
  const numeric = rows.every(row => empty(cell(row)) || !Number.isNaN(number(cell(row))));
  const before = (a, b) => numeric ? number(a) - number(b) : a.localeCompare(b, "en", { numeric: true });
  rows.sort((a, b) => {
    const [one, other] = [cell(a), cell(b)];
    if (empty(one) || empty(other)) return empty(one) - empty(other);
    return down ? before(other, one) : before(one, other);
  });
  table.tBodies[0].append(...rows);
};
for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length < 3) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const down = head.ariaSort === "ascending";
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.ariaSort = down ? "descending" : "ascending";
      sort(table, column, down);
    };
  });
}
const box = document.createElement("div");
box.id = "said";
box.setAttribute("role", "status");
document.body.append(box);
const texts = JSON.parse(document.getElementById("points")?.textContent ?? "[]");
for (const picture of document.querySelectorAll(".picture[tabindex]")) {
  const svg = picture.querySelector("svg"), points = JSON.parse(picture.querySelector("script").textContent);
  const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  let at = -1;
  ring.setAttribute("class", "ring");
  ring.setAttribute("r", 6);
  points.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const hide = () => { box.textContent = ""; ring.remove(); };
  const show = next => {
    at = next;
    const [x, y, text] = points[at];
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    svg.append(ring);
    box.textContent = texts[text];
    const place = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
    if (place.y < 0 || place.y > innerHeight) return hide();
    box.style.left = Math.max(4, Math.min(place.x + 14, innerWidth - box.offsetWidth - 8)) + "px";
    const above = place.y - box.offsetHeight - 12;
    box.style.top = (above < 4 ? place.y + 16 : above) + "px";
  };
  const point = event => {
    const matrix = svg.getScreenCTM(), here = new DOMPoint(event.clientX, event.clientY);
    const { x, y } = here.matrixTransform(matrix.inverse());
    let best = -1, least = 14 / matrix.a;
    points.forEach(([px, py], i) => {
      const far = Math.hypot(px - x, py - y);
      if (far < least) [best, least] = [i, far];
    });
    if (best < 0) hide(); else if (best !== at || !box.textContent) show(best);
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    show(((at < 0 && step < 0 ? 0 : at) + step + points.length) % points.length);
  });
  addEventListener("scroll", () => ring.isConnected && show(at), { passive: true, capture: true });
}
"""


def document(title: str, body: str) -> str:
    """The HTML document with `body`, HTML already."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n<script>{SCRIPT}</script></body></html>\n"
    )
