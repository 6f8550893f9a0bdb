"""The looks of a report: of its page and of its plots, light and dark."""

from __future__ import annotations

PAGE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#5d6873;--line:#e2e5e9;--a:#2a66a8;--b:#b8481f;
--box:#f4f6f8}
@media (prefers-color-scheme:dark){:root{--paper:#15181c;--ink:#e4e7ea;--soft:#9aa5b0;--line:#2d333a;--a:#79b4ee;
--b:#f0956b;--box:#1d2126}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,sans-serif;background:var(--paper);color:var(--ink);margin:0;overflow-wrap:anywhere}
main{max-width:68rem;margin:0 auto;padding:1.2rem 1rem 3rem}
h1{font-size:1.55rem;line-height:1.25;margin:.4rem 0}h2{font-size:1.25rem;margin:2.6rem 0 .6rem;padding-top:.8rem;
border-top:1px solid var(--line)}h3{font-size:1.05rem;margin:1.8rem 0 .4rem}h4{font-size:.95rem;margin:0 0 .4rem}
.about,.note,figcaption{color:var(--soft)}.note,figcaption{font-size:.85rem}.box p{margin:.35rem 0}
.box{background:var(--box);border-left:4px solid var(--a);padding:.6rem 1rem;margin:1rem 0}
.warn{border-left:4px solid var(--b);padding:.1rem 0 .1rem .8rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.22rem .6rem;text-align:right;white-space:nowrap}thead th{color:var(--soft);font-weight:500;
border-bottom:1px solid var(--line)}th:first-child{text-align:left;padding-left:0;font-weight:600}
tbody th.sub{font-weight:400;padding-left:1rem}tbody tr+tr>*{border-top:1px solid var(--line)}
.better{color:var(--a);font-weight:600}.worse{color:var(--b);font-weight:600}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr));gap:1.8rem 2.2rem;
margin:1.4rem 0}
figure{margin:0;min-width:0;max-width:31rem}figcaption{margin-top:.3rem}
.key{columns:2;font-size:.8rem;padding-left:1.8rem;margin:.5rem 0}.key .strong{font-weight:650}
dt{font-weight:600;margin-top:.6rem}dd{margin:0 0 0 1rem;font-size:.95rem}
details{margin:.5rem 0}summary{cursor:pointer}.item{border-top:1px solid var(--line);padding:.5rem 0;font-size:.9rem}
.item p{margin:.15rem 0}.path{color:var(--soft)}
@media (max-width:30rem){body{font-size:15px}.key{columns:1}main{padding:.8rem .8rem 2rem}}
@media print{details{display:block}.cards{break-inside:avoid}}
"""

CHARTS = """
.chart{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
.chart text{fill:var(--ink)}.chart .soft{fill:var(--soft);font-size:11px}.chart .small{font-size:9px}
.chart .strong{font-weight:650}
.chart .halo{paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}.mark{stroke:var(--soft);stroke-dasharray:5 4}
.bar{stroke-width:1.6}.faint{stroke-opacity:.45}.front{fill:none;stroke:var(--soft);stroke-dasharray:2 4}
.bar.a,.stroke.a{stroke:var(--a)}.bar.b,.stroke.b{stroke:var(--b)}.bar.c,.stroke.c{stroke:var(--soft)}
.stroke{fill:none;stroke-width:1.8}.stroke.b{stroke-dasharray:7 4}.stroke.c{stroke-dasharray:2 4}
.fill.a,.cell.a,.disc.a{fill:var(--a)}.cell.b{fill:var(--b)}.disc{fill-opacity:.75}
.ring{fill:var(--paper);stroke-width:1.8}.ring.a{stroke:var(--a)}.ring.b{stroke:var(--b)}.ring.c{stroke:var(--soft)}
.part{stroke-width:1}.rr{fill:var(--a);stroke:var(--a)}.wr{fill:var(--a);fill-opacity:.35;stroke:var(--a)}
.rw{fill:url(#hatch);stroke:var(--b)}.hatch{fill:var(--b)}.hatched{stroke:var(--paper);stroke-width:2}
.ww{fill:var(--soft);fill-opacity:.18;stroke:var(--soft)}
.chart .on-rr{fill:var(--paper);font-size:11px}.chart .on-wr,.chart .on-ww{font-size:11px}
.chart .on-rw{font-size:11px;paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
"""
