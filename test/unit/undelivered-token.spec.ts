import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { DeliveryOptions, RefreshOptions } from '../../lib/jwt-state.options.js';
import { CapturedLog } from '../support/captured-log.js';
import { assembled } from '../support/setup.js';

/*
 * A token that travels by cookie is not in the JSON: a log-in route that returns its tokens and does not
 * deliver them would lose it without a word. The log says so, once in a process, so the order
 * of these tests matters.
 */

const log = new CapturedLog();
Logger.overrideLogger(log);
beforeEach(() => log.clear());

const service = (tokens: RefreshOptions['tokens']) => assembled({ refresh: { tokens } });
const byCookie = () => service({ cookie: true });
const accessByCookie = (delivery: DeliveryOptions = { cookie: true }) => assembled({ delivery });
const newResponse = () => new ServerResponse(new IncomingMessage(new Socket()));

describe('an access token by cookie', () => {
  it('that is delivered is worth no line, and is not in the JSON', async () => {
    const { tokens, delivery } = accessByCookie();
    const issued = await tokens.issue('alice');
    delivery.deliver(newResponse(), issued);
    expect(Object.keys(issued.toJSON())).toEqual(['token_type', 'expires_in']);
    expect({ ...issued }).toEqual(issued.toJSON());
    expect(issued.access_token).toBeUndefined();
    expect(log.lines).toEqual([]);
  });

  it('is in the answer of the refresh route to a client that sends it in the header', async () => {
    const { tokens } = accessByCookie({ cookie: true, header: 'Authorization' });
    const issued = await tokens.issue('alice');
    expect(issued.response({ access: true })).toMatchObject({ access_token: issued.accessToken });
    expect(log.lines).toEqual([]);
  });

  it('is none that travels by header: it is in the JSON, and in the header of a log-in as well', async () => {
    const { tokens, delivery } = accessByCookie({});
    const issued = await tokens.issue('alice');
    delivery.deliver(newResponse(), issued);
    expect(issued.toJSON().access_token).toBe(issued.accessToken);
    expect(log.lines).toEqual([]);
  });
});

describe('a refresh token by cookie', () => {
  it('that is delivered is worth no line', async () => {
    const { tokens, delivery } = byCookie();
    const issued = await tokens.issue('alice');
    delivery.deliver(newResponse(), issued);
    expect(JSON.stringify(issued)).not.toContain(issued.refreshToken);
    expect(log.lines).toEqual([]);
  });

  it('that is exchanged, and answered in the body, is worth none', async () => {
    const { tokens, delivery } = byCookie();
    const { refreshToken } = await tokens.issue('alice');
    const issued = await tokens.refresh(refreshToken as string);
    delivery.stageInHeader(newResponse(), issued);
    issued.toJSON();
    expect(log.lines).toEqual([]);
  });

  it('that no answer was made of is worth none', async () => {
    const { tokens } = byCookie();
    const issued = await tokens.issue('alice');
    expect([issued.accessToken, issued.refreshToken, { ...issued }, String(issued)]).toHaveLength(
      4,
    );
    expect(log.lines).toEqual([]);
  });

  it('is none where there is none: a reissue brings an access token only', async () => {
    const { tokens } = byCookie();
    const { claims } = await tokens.issue('alice');
    JSON.stringify(await tokens.reissue(claims, { plan: 'premium' }));
    expect(log.lines).toEqual([]);
  });

  it.each([
    ['in the body', {}],
    ['nowhere', false],
  ] as const)('is none that travels %s', async (_, tokens) => {
    JSON.stringify(await service(tokens).tokens.issue('alice'));
    expect(log.lines).toEqual([]);
  });

  it('that is returned and not delivered is worth one line, and no more in this process', async () => {
    const { tokens } = byCookie();
    const issued = await tokens.issue('alice');
    JSON.stringify(issued);
    expect(log.lines).toEqual([
      expect.stringMatching(/^WARN A token that travels by cookie was not delivered.+deliver\(/),
    ]);
    const text = issued.refreshToken as string;
    expect(log.text).not.toContain(text.slice(text.lastIndexOf('.')));
    JSON.stringify(issued);
    JSON.stringify(await byCookie().tokens.issue('bob'));
    JSON.stringify(await accessByCookie().tokens.issue('bob'));
    expect(log.lines).toHaveLength(1);
  });
});
