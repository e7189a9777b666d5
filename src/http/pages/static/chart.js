// The live chart of the limiter: what each rule allowed and refused, a bar for each interval.
'use strict';

(() => {
  const table = document.querySelector('[data-chart]');
  if (!table) return;
  const SVG = 'http://www.w3.org/2000/svg';
  const every = Number(table.dataset.every);
  const most = 40;
  const rows = new Map();
  let before;

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
  document.querySelector('[data-live]').textContent = `· a bar is ${every / 1000} s`;

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

  async function step() {
    if (document.hidden) return;
    const answer = await fetch(table.dataset.chart, { headers: { Accept: 'application/json' } }).catch(() => null);
    if (!answer || !answer.ok || answer.redirected) return;
    const state = await answer.json();
    for (const place of document.querySelectorAll('[data-figure]')) place.textContent = state[place.dataset.figure];
    const store = document.querySelector('[data-store]');
    store.textContent = state.store;
    store.className = `tag ${state.store === 'degraded' ? 'bad' : 'good'}`;
    const now = new Map(state.rules.map((rule) => [rule.name, rule]));
    for (const [name, place] of rows) {
      const rule = now.get(name);
      if (!rule) continue;
      place.row.querySelector('[data-allowed]').textContent = rule.allowed;
      place.row.querySelector('[data-refused]').textContent = rule.refused;
      const last = before?.get(name);
      if (!last) continue;
      // A process that was started anew counts from nothing.
      place.bars.push({ allowed: Math.max(0, rule.allowed - last.allowed), refused: Math.max(0, rule.refused - last.refused) });
      place.bars.splice(0, place.bars.length - most);
      draw(place);
    }
    before = now;
  }

  step();
  setInterval(step, every);
})();
