import { element } from './elements.js';
import { type State, shortId, type TokenLife } from './token-lives.js';

const SHOWN = 5;
const SHORTEST_MS = 20_000;
/** How long a token is drawn that nobody will accept any more. */
const AFTERLIFE_MS = 4_000;

interface Part {
  readonly state: State;
  readonly from: number;
  readonly to: number;
}

/** The lives of a session's tokens, one below the other, on one scale of time. */
export function timeLine(lives: readonly TokenLife[], now: number, grace: number): HTMLElement {
  if (lives.length === 0) return element('p', { className: 'empty', textContent: 'No token yet.' });
  const shown = lives.slice(-SHOWN);
  const begun = Math.min(...shown.map((life) => life.issued));
  const span = Math.max(SHORTEST_MS, now - begun);
  const list = element('ol', { className: 'lives' });
  for (const life of shown.toReversed()) {
    const track = element('div', { className: 'track' });
    track.setAttribute('aria-hidden', 'true');
    for (const { state, from, to } of partsOf(life, now, grace)) {
      const part = element('div', { className: `part ${state}` });
      part.style.insetInlineStart = `${((from - begun) / span) * 100}%`;
      part.style.width = `${((to - from) / span) * 100}%`;
      track.append(part);
    }
    list.append(element('li', {}, track, story(life, grace)));
  }
  return list;
}

function partsOf(life: TokenLife, now: number, grace: number): Part[] {
  const { issued, stale, superseded, revoked } = life;
  const end = revoked ?? (superseded === undefined ? now : Math.min(now, superseded + grace));
  const marks: [State, number | undefined][] = [
    ['active', issued],
    ['stale', superseded === undefined || (stale ?? 0) < superseded ? stale : undefined],
    ['superseded', superseded],
  ];
  const begins = marks.filter((mark): mark is [State, number] => mark[1] !== undefined);
  const parts = begins.map(([state, from], index) => ({
    state,
    from: Math.min(from, end),
    to: Math.min(begins[index + 1]?.[1] ?? end, end),
  }));
  if (revoked === undefined) return parts;
  return [...parts, { state: 'revoked', from: revoked, to: Math.min(now, revoked + AFTERLIFE_MS) }];
}

/** The same in words. */
function story(life: TokenLife, grace: number): HTMLElement {
  const { jti, issued, stale, superseded, successor, revoked } = life;
  const told = [`issued ${time(issued)}`];
  if (stale !== undefined) told.push(`stale ${time(stale)}`);
  if (superseded !== undefined) {
    told.push(`superseded ${time(superseded)}`);
    if (successor !== undefined) {
      told.push(`leads to ${shortId(successor)} until ${time(superseded + grace)}`);
    }
  }
  if (revoked !== undefined) told.push(`revoked ${time(revoked)}`);
  const id = element('code', { textContent: shortId(jti) });
  return element('p', { className: 'story' }, id, `: ${told.join(', ')}`);
}

export function time(at: number): string {
  return new Date(at).toLocaleTimeString('en-GB');
}
