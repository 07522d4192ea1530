"""Colours of the page and of its charts, light and dark.

The four kinds of entries differ in lightness as well as in hue, and every mark in a chart has its name beside
it: nothing is told by colour alone.
"""

COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14171c"),
    "card": ("#f5f6f8", "#1d2128"),
    "ink": ("#1b1f24", "#e6e8eb"),
    "muted": ("#59626e", "#a3acb9"),
    "axis": ("#959ea9", "#5f6875"),
    "grid": ("#e2e5e9", "#2d333c"),
    "network": ("#0067a5", "#5ab4ec"),
    "ensemble": ("#b93c00", "#f7a355"),
    "classical": ("#66707d", "#a9b2be"),
    "external": ("#08735a", "#3fcfa3"),
}
"""Name → its light and its dark colour."""

LIGHT = {name: light for name, (light, _) in COLOURS.items()}

KINDS = {
    "network": "network",
    "ensemble": "ensemble",
    "classical": "classical baseline",
    "external": "other tool",
}
"""Kind of an entry, which is also its colour → how it is called."""


def css() -> str:
    """The colours as variables, and the classes that charts use (`svg.Drawing`)."""
    light, dark = ("".join(f"--{name}:{pair[i]};" for name, pair in COLOURS.items()) for i in (0, 1))
    classes = "".join(
        f".fill-{name}{{fill:var(--{name})}}.stroke-{name}{{stroke:var(--{name})}}" for name in COLOURS
    )
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{color-scheme:light;{light}}}}}\n"
        f"{classes}\n" + _PAGE
    )


_PAGE = """\
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
  counter-reset:figure table}
main,header,footer{max-width:1200px;margin:0 auto;padding:0 24px}
header{padding-top:40px}
h1{font-size:30px;line-height:1.2;margin:0 0 6px;font-weight:650;letter-spacing:-.01em}
h2{font-size:22px;line-height:1.25;margin:60px 0 10px;padding-top:14px;border-top:1px solid var(--grid);
  font-weight:650}
h3{font-size:16px;margin:30px 0 8px;font-weight:650}
h3::first-letter{text-transform:uppercase}
p{margin:8px 0;max-width:80ch}
a{color:var(--network)}
.muted,.note,figcaption{color:var(--muted)}
.note{font-size:14px}
.lead{font-size:17px;max-width:82ch;margin:18px 0}
dl.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:3px 18px;margin:18px 0;
  font-size:15px;max-width:110ch}
dl.facts dt{color:var(--muted)}
dl.facts dd{margin:0;overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:22px 0 0;font-size:15px}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:13px}
pre{background:var(--card);padding:12px 14px;border-radius:6px;overflow-x:auto;line-height:1.45;margin:10px 0}
details{margin:12px 0}
summary{cursor:pointer;color:var(--network)}
details[open]>summary{margin-bottom:6px}
.scroll{overflow-x:auto}
figure.table{margin:26px 0}
figure.table>figcaption{margin:0 0 6px}
figure.table>figcaption::before{counter-increment:table;content:"Table " counter(table) ". ";font-weight:650;
  color:var(--ink)}
table{width:100%;border-collapse:collapse;font-size:14px;line-height:1.35;font-variant-numeric:tabular-nums}
table.narrow{width:auto}
table.narrow th,table.narrow td{padding-right:28px}
th,td{padding:6px 8px;text-align:right;vertical-align:top;border-bottom:1px solid var(--grid);
  white-space:nowrap}
thead th{vertical-align:bottom;border-bottom:1.5px solid var(--axis);font-weight:600;color:var(--muted)}
tbody th{text-align:left;font-weight:500;white-space:normal;min-width:190px;max-width:260px;
  overflow-wrap:break-word}
th.text,td.text{text-align:left}
td.prose{text-align:left;white-space:normal;min-width:180px}
td small{display:block;color:var(--muted);font-size:12px}
td.best b,b{font-weight:700}
tr.group th{color:var(--muted);font-size:13px;padding-top:14px}
.column{display:block;max-width:130px;margin-left:auto;white-space:normal;font-weight:400;font-size:12px}
.entry{display:grid;grid-template-columns:1.2em 10px 1fr;column-gap:6px}
.dot{width:10px;height:10px;border-radius:50%;margin-top:.35em}
.number{color:var(--muted);font-weight:400;text-align:right}
figure{margin:18px 0}
figure svg{display:block;max-width:100%;height:auto}
figcaption{font-size:14px;margin-top:6px;max-width:95ch}
figure.numbered>figcaption::before{counter-increment:figure;content:"Figure " counter(figure) ". ";
  font-weight:650;color:var(--ink)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:0 24px}
.pair figure{min-width:0}
.chart{overflow-x:auto}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr));gap:16px 14px}
.tiles figure{margin:0;break-inside:avoid}
.tiles.three{grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr))}
.tiles img{display:block;width:100%;height:auto;border-radius:3px;background:#000}
.tiles figcaption{margin-top:5px;font-size:13.5px;line-height:1.35;color:var(--ink);overflow-wrap:anywhere}
.tiles figcaption span{color:var(--muted)}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;font-size:14px;margin:10px 0;padding:0;list-style:none}
.legend i{display:inline-block;width:14px;height:14px;margin-right:7px;vertical-align:-2px;
  border:1px solid var(--axis);border-radius:2px}
footer{margin-top:60px;padding-top:14px;padding-bottom:40px;font-size:14px;color:var(--muted)}
@media (max-width:700px){
  body{font-size:15px}
  main,header,footer{padding-left:16px;padding-right:16px}
  header{padding-top:24px}
  h1{font-size:24px}
  h2{margin-top:44px}
  dl.facts{grid-template-columns:1fr;gap:0}
  dl.facts dd{margin-bottom:8px}
  th,td{padding:6px 7px}
  tbody th{min-width:130px;max-width:160px}
  tbody tr:not(.group) th,thead th:first-child{position:sticky;left:0;background:var(--paper)}
  .tiles{grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:12px 10px}
  .chart svg{min-width:min(var(--least,480px),160vw)}
}
@media print{
  body{font-size:10.5pt}
  main,header,footer{max-width:none;padding:0}
  nav{display:none}
  h2{break-after:avoid;margin-top:28pt}
  h3{break-after:avoid}
  table{font-size:8pt}
  th,td{padding:3px 4px}
  figure.numbered,tr{break-inside:avoid}
  .scroll,.chart{overflow:visible}
  .tiles{grid-template-columns:repeat(5,1fr)}
  .tiles.three{grid-template-columns:repeat(3,1fr)}
  .dot,.legend i,pre{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""
