// The live chart of the limiter: what each rule allowed and refused, a bar for each interval.
'use strict';

(() => {
  const table = document.querySelector('[data-chart]');
  if (!table) return;
  const SVG = 'http://www.w3.org/2000/svg';
  const every = Number(table.dataset.every);
  const most = 40;
  const rows = new Map();
  // What each process that answered last said of its rules.
  const seen = new Map();
  let pausedUntil = 0;

  const tell = (text) => { document.querySelector('[data-live]').textContent = `· ${text}`; };

  const make = (name, attributes) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  const title = document.createElement('th');
  title.scope = 'col';
  title.textContent = 'Live';
  table.querySelector('thead tr').append(title);
  for (const row of table.querySelectorAll('[data-rule]')) {
    const cell = document.createElement('td');
    const svg = make('svg', { class: 'spark', viewBox: `0 0 ${most * 5} 40`, preserveAspectRatio: 'none', role: 'img' });
    svg.setAttribute('aria-label', `Decisions of ${row.dataset.rule}, live`);
    cell.append(svg);
    row.append(cell);
    rows.set(row.dataset.rule, { row, svg, bars: [] });
  }

  function draw({ svg, bars }) {
    const highest = Math.max(4, ...bars.map(({ allowed, refused }) => allowed + refused));
    svg.replaceChildren();
    bars.forEach(({ allowed, refused }, index) => {
      const x = (most - bars.length + index) * 5;
      const high = (count) => (count * 40) / highest;
      if (allowed) svg.append(make('rect', { class: 'allowed', x, y: 40 - high(allowed), width: 4, height: high(allowed) }));
      if (refused) svg.append(make('rect', { class: 'refused', x, y: 40 - high(allowed + refused), width: 4, height: high(refused) }));
    });
  }

  const total = (name, what) => [...seen.values()].reduce((sum, rules) => sum + (rules.get(name)?.[what] ?? 0), 0);

  // Behind one address several processes answer in turn. A bar is what the one that answers has decided since it last did,
  // so that in the end those of all are there.
  function show(state) {
    for (const place of document.querySelectorAll('[data-figure]')) place.textContent = state[place.dataset.figure];
    const store = document.querySelector('[data-store]');
    store.textContent = state.store;
    store.className = `tag ${state.store === 'degraded' ? 'bad' : 'good'}`;
    const before = seen.get(state.process);
    seen.set(state.process, new Map(state.rules.map((rule) => [rule.name, rule])));
    document.querySelector('[data-processes]').textContent =
      `${seen.size === 1 ? 'process' : `the ${seen.size} processes that answered,`} ${[...seen.keys()].join(', ')}`;
    for (const { name, allowed, refused } of state.rules) {
      const place = rows.get(name);
      if (!place) continue;
      place.row.querySelector('[data-allowed]').textContent = total(name, 'allowed');
      place.row.querySelector('[data-refused]').textContent = total(name, 'refused');
      const last = before?.get(name);
      if (!last) continue;
      place.bars.push({ allowed: allowed - last.allowed, refused: refused - last.refused });
      place.bars.splice(0, place.bars.length - most);
      draw(place);
    }
  }

  async function step() {
    if (document.hidden || Date.now() < pausedUntil) return;
    const answer = await fetch(table.dataset.chart).catch(() => null);
    if (!answer) return tell('no answer');
    if (answer.redirected) return tell('you are signed out');
    if (answer.status === 429) {
      pausedUntil = Date.now() + Number(answer.headers.get('Retry-After') || 60) * 1000;
      return tell('paused: there were too many requests from your network');
    }
    if (!answer.ok) return tell('no answer');
    tell(`a bar is ${every / 1000} s`);
    show(await answer.json());
  }

  step();
  setInterval(step, every);
})();
