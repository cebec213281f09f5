"""The style sheet of the HTML report. A value only; it names nothing that would have to be fetched."""

from typing import Final

STYLE: Final = """\
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2128;--soft:#59636e;--line:#d7dce2;--band:#f3f5f8;
--c0:#0b5fc1;--c1:#c2410c;--c2:#15803d;--c3:#a21caf;--c4:#0e7490;--c5:#a16207;--c6:#be123c;--c7:#4d5bd6;--cx:#a4acb6}
@media (prefers-color-scheme:dark){:root{--bg:#14181e;--fg:#e6eaef;--soft:#a2acb8;--line:#333b45;--band:#1d232b;
--c0:#6cb0ff;--c1:#ff9a5c;--c2:#5fd38a;--c3:#e58cf0;--c4:#4fd0e3;--c5:#e5c04b;--c6:#ff8298;--c7:#a3adff;--cx:#5c6672}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1240px;padding:1.5rem;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:1.6rem;margin:0 0 1rem}h2{font-size:1.2rem;margin:2.5rem 0 .5rem}h3{font-size:1rem;margin:1.5rem 0 .25rem}
p,figcaption,caption{max-width:75ch}figcaption,.soft{color:var(--soft)}
code{font-family:ui-monospace,monospace;font-size:.9em;background:var(--band);padding:.1em .3em;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:1rem 0}dt{color:var(--soft)}dd{margin:0}
figure{margin:1rem 0}figure>svg{display:block;width:100%;max-width:900px;height:auto}
.grid{stroke:var(--line);fill:none}
.tick,.axis{fill:var(--soft);font-size:12px}.end{text-anchor:end}.mid{text-anchor:middle}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;margin:.5rem 0;padding:0}
.key{width:28px;height:12px;vertical-align:middle;margin-right:.4rem}
.c0,.c1,.c2,.c3,.c4,.c5,.c6,.c7,.cx{fill:none;stroke-width:1.6;stroke-linejoin:round}.heavy{stroke-width:3}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1);stroke-dasharray:9 3}.c2{stroke:var(--c2);stroke-dasharray:3 3}
.c3{stroke:var(--c3);stroke-dasharray:12 3 3 3}.c4{stroke:var(--c4);stroke-dasharray:6 6}
.c5{stroke:var(--c5);stroke-dasharray:1.5 3}.c6{stroke:var(--c6);stroke-dasharray:14 5}
.c7{stroke:var(--c7);stroke-dasharray:8 3 2 3 2 3}.cx{stroke:var(--cx);stroke-width:1}
circle{fill:var(--bg);stroke-dasharray:none}
.scroll{overflow-x:auto;margin:1rem 0}table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.4rem 0}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
thead th{white-space:normal;vertical-align:bottom}
th[scope=row],td.word,th.word{text-align:left}th[scope=row]{font-weight:inherit}.own{font-weight:700;background:var(--band)}
details{margin:.5rem 0}summary{cursor:pointer}
@media print{body{max-width:none;padding:0}figure,tr{break-inside:avoid}}
"""
