import { element } from './elements.js';
import { time } from './time-line.js';

const KEPT = 6;

export interface Entry {
  readonly at: number;
  readonly request: string;
  readonly answer: string;
  /** What came with the answer, if anything. */
  readonly note: string;
}

/** The last requests of a device, those that the client makes by itself included. */
export class RequestLog {
  private entries: readonly Entry[] = [];

  add(entry: Entry): void {
    this.entries = [entry, ...this.entries].slice(0, KEPT);
  }

  draw(owner: string): HTMLElement {
    if (this.entries.length === 0) {
      return element('p', { className: 'empty', textContent: 'No request yet.' });
    }
    const rows = this.entries.map(({ at, request, answer, note }) =>
      element('tr', {}, ...[time(at), request, answer, note].map(cell)),
    );
    const names = ['Time', 'Request', 'Answer', 'Token'].map((name) =>
      element('th', { scope: 'col', textContent: name }),
    );
    return element(
      'div',
      { className: 'scroll' },
      element(
        'table',
        {},
        element('caption', { textContent: `Last requests of ${owner}` }),
        element('thead', {}, element('tr', {}, ...names)),
        element('tbody', {}, ...rows),
      ),
    );
  }
}

function cell(text: string): HTMLElement {
  return element('td', { textContent: text });
}
