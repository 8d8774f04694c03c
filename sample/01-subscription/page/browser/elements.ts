type Child = Node | string | undefined;
type Properties = Partial<Record<'className' | 'textContent' | 'type' | 'scope' | 'id', string>>;

/** An element with what it holds. */
export function element<N extends keyof HTMLElementTagNameMap>(
  name: N,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[N] {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** A button that stays in place, and in the order of the keyboard, while it has no use. */
export function button(label: string, press: () => Promise<void>): Button {
  const made = element('button', { type: 'button', textContent: label });
  let isUseful = true;
  made.addEventListener('click', () => {
    if (isUseful) press().catch((error: unknown) => announce(`${label}: ${error}`));
  });
  return {
    element: made,
    enable(value) {
      isUseful = value;
      made.setAttribute('aria-disabled', String(!value));
    },
  };
}

export interface Button {
  readonly element: HTMLElement;
  enable(isUseful: boolean): void;
}

/** For those who cannot see what has changed. */
export function announce(text: string): void {
  const place = document.getElementById('announcements');
  if (place) place.textContent = text;
}
