"""The look of the HTML report."""

STYLE = """
:root { color-scheme: light; --ink: #1c1e21; --soft: #5f6670; --line: #e3e6ea; --accent: #0072b2; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; color: var(--ink);
  margin: 0 auto; max-width: 1080px; padding: 40px 28px 80px; background: #fff; }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -0.01em; } h2 { font-size: 20px; margin: 44px 0 10px; }
p.lead { color: var(--soft); margin: 0 0 22px; } code, .law { font-family: ui-monospace, "Liberation Mono", monospace; }
.law { background: #f5f7f9; border-radius: 8px; padding: 14px 18px; font-size: 17px; overflow-x: auto; }
.verdict { border-left: 6px solid; border-radius: 6px; padding: 12px 18px; margin: 20px 0; background: #f5f7f9; }
.verdict b { font-size: 18px; }
.ok { border-color: #009e73; } .warn { border-color: #e69f00; } .bad { border-color: #d55e00; }
table { border-collapse: collapse; width: 100%; font-size: 15px; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); padding: 6px 10px; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 6px 10px; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
.tag { border-radius: 4px; padding: 1px 8px; font-size: 13px; white-space: nowrap; border: 1px solid; }
.tag.error { color: #a63c00; } .tag.warning { color: #8a5a00; } .tag.info { color: #4b5560; }
figure { margin: 22px 0 30px; } figure img { width: 100%; height: auto; display: block; }
img[alt="contours"] { max-width: 680px; }
figcaption { color: var(--soft); font-size: 14px; margin-top: 6px; }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
pre { background: #f5f7f9; border-radius: 8px; padding: 14px 18px; overflow-x: auto; font-size: 13px; }
@media print { body { padding: 0; max-width: none; } figure, table { break-inside: avoid; } }
"""
