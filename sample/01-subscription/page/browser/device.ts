import { createTokenClient, type TokenClaims } from 'nestjs-jwt-state/client';
import { announce, type Button, button, element } from './elements.js';
import { timeLine } from './time-line.js';
import { type State, shortId, stateOf, type TokenLives } from './token-lives.js';
import { WatchedFetch } from './watched-fetch.js';

export interface UserClaims {
  readonly plan: string;
  readonly role: string;
  readonly tenant: string;
}
type Claims = TokenClaims & UserClaims;

interface Account {
  readonly title: string;
  readonly username: string;
  readonly className: string;
}

/** One session of one user: what it holds, what it can do, and what has become of its tokens. */
export class Device {
  readonly element: HTMLElement;
  private readonly watched = new WatchedFetch(() => this.draw());
  private readonly client;
  private readonly buttons: { readonly needs: Need; readonly button: Button }[] = [];
  private readonly state = element('span', { className: 'state' });
  private readonly claims = element('dl');
  private readonly line = element('div');
  private readonly requests = element('div');
  private previous: Claims | undefined;
  private ended: string | undefined;
  /** The last session, so that its end stays to be seen. */
  private sid: string | undefined;

  constructor(
    private readonly account: Account,
    private readonly lives: TokenLives,
    private readonly grace: number,
  ) {
    const { title, username, className } = account;
    this.client = createTokenClient<UserClaims>({
      name: `sample-${className}`,
      fetch: this.watched.fetch,
      // This page is two devices at once: what they share is the server.
      tabs: false,
      onClaimsChanged: (claims, previous) => this.say(claims, previous),
      onSignedOut: (reason) => {
        this.ended = reason;
      },
    });
    const heading = element('h2', { textContent: title, id: `${className}-title` });
    this.element = element(
      'section',
      { className: `card ${className}` },
      element('header', {}, heading, this.state),
      this.controls(username),
      element('h3', { textContent: 'What its token says' }),
      this.claims,
      element('h3', { textContent: 'Lives of its tokens' }),
      this.line,
      element('h3', { textContent: 'Last requests' }),
      this.requests,
    );
    this.element.setAttribute('aria-labelledby', heading.id);
    this.draw();
  }

  /** Beside those that every device has. */
  offer(label: string, path: string, body: object): void {
    this.element
      .querySelector('.buttons')
      ?.append(this.add(label, 'session', () => this.post(path, body)));
    this.draw();
  }

  draw(): void {
    const claims = this.client.claims();
    this.sid = claims?.sid ?? this.sid;
    const life = claims && this.lives.find(claims.jti);
    const state: State | 'none' = claims ? (life ? stateOf(life) : 'active') : 'none';
    this.state.className = `state ${state}`;
    this.state.textContent = claims ? state : `logged out${this.ended ? ` (${this.ended})` : ''}`;
    this.claims.replaceChildren(...this.claimList(claims));
    const lives = this.sid === undefined ? [] : this.lives.of(this.sid);
    this.line.replaceChildren(timeLine(lives, this.lives.now, this.grace));
    this.requests.replaceChildren(this.watched.log.draw(this.account.title));
    const old = this.watched.olderThan(claims?.jti);
    const met = { session: claims !== undefined, nobody: claims === undefined, old: !!old };
    for (const { needs, button: one } of this.buttons) one.enable(met[needs]);
  }

  private controls(username: string): HTMLElement {
    return element(
      'div',
      { className: 'buttons' },
      this.add('Log in', 'nobody', () => this.logIn(username)),
      this.add('Who am I?', 'session', () => this.send('/me')),
      this.add('Log out', 'session', () => this.leave('/auth/logout')),
      this.add('Log out everywhere', 'session', () => this.leave('/auth/logout-everywhere')),
      this.add('Replay the old token', 'old', () => this.replay()),
    );
  }

  private add(label: string, needs: Need, press: () => Promise<void>): HTMLElement {
    const made = button(label, async () => {
      await press();
      this.draw();
    });
    this.buttons.push({ needs, button: made });
    return made.element;
  }

  private async logIn(username: string): Promise<void> {
    const response = await this.watched.fetch(
      '/auth/login',
      json({ username, password: `${username}-password` }),
    );
    if (!response.ok) throw new Error(`the log-in was answered with ${response.status}`);
    const answer = (await response.json()) as { access_token: string };
    this.watched.keep(answer.access_token);
    this.ended = undefined;
    this.previous = undefined;
    this.client.signIn(answer);
  }

  private async send(path: string, init?: RequestInit): Promise<void> {
    const { status } = await this.client.fetch(path, init);
    announce(`${this.account.title}: ${path} was answered with ${status}.`);
  }

  private post(path: string, body: object = {}): Promise<void> {
    return this.send(path, json(body));
  }

  private async leave(path: string): Promise<void> {
    await this.post(path);
    this.client.signOut();
  }

  /** As somebody would who has stolen it. Nothing that comes back is kept. */
  private async replay(): Promise<void> {
    const token = this.watched.olderThan(this.client.claims()?.jti);
    if (!token) return;
    const headers = { authorization: `Bearer ${token}` };
    const response = await this.watched.fetch('/me', { headers });
    const said = (await response.json()) as Partial<UserClaims> & { code?: string };
    announce(
      response.ok
        ? `The old token leads to the new one: ${said.plan}, ${said.role}.`
        : `The old token is refused: ${said.code}.`,
    );
  }

  private say(claims: Claims | undefined, previous: Claims | undefined): void {
    this.previous = claims && previous?.sid === claims.sid ? previous : undefined;
    const { title } = this.account;
    announce(claims ? `${title}: ${claims.plan}, ${claims.role}.` : `${title}: logged out.`);
    // The client calls this before its constructor's caller has it.
    queueMicrotask(() => this.draw());
  }

  private claimList(claims: Claims | undefined): Node[] {
    if (!claims) return [element('dt', { textContent: 'nothing: there is none' })];
    const shown = {
      sub: claims.sub,
      plan: claims.plan,
      role: claims.role,
      tenant: claims.tenant,
      jti: shortId(claims.jti),
      sid: shortId(claims.sid),
    };
    return Object.entries(shown).flatMap(([name, value]) => {
      const before = this.previous?.[name];
      const isNew = name in { plan: 0, role: 0 } && before !== undefined && before !== value;
      const was = isNew
        ? element('span', { className: 'was', textContent: `was ${before}` })
        : undefined;
      return [element('dt', { textContent: name }), element('dd', {}, value, was)];
    });
  }
}

/** What a button needs to be of use. */
type Need = 'session' | 'nobody' | 'old';

function json(body: object): RequestInit {
  return {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  };
}
