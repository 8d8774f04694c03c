import { JwtStateConfigError } from '../jwt-state.errors.js';
import { ClusterLink } from './cluster.link.js';
import { GivenClientLink } from './given-client.link.js';
import type { LinkListener, RedisLink } from './redis-link.js';
import type { RedisDenyListConfig, Target } from './resolve-options.js';
import { SentinelLink } from './sentinel.link.js';
import { type LinkSettings, StandaloneLink } from './standalone.link.js';

export function createLink(
  { target, commandsQueueMaxLength }: RedisDenyListConfig,
  parts: Omit<LinkSettings, 'commandsQueueMaxLength'>,
  listener: LinkListener,
): RedisLink {
  try {
    return linkTo(target, { commandsQueueMaxLength, ...parts }, listener);
  } catch (error) {
    throw error instanceof JwtStateConfigError ? error : refusedByClient(error);
  }
}

function linkTo(target: Target, settings: LinkSettings, listener: LinkListener): RedisLink {
  switch (target.kind) {
    case 'server':
      return new StandaloneLink(target.options, settings, listener);
    case 'sentinel':
      return new SentinelLink(target.options, settings, listener);
    case 'cluster':
      return new ClusterLink(target.options, settings, listener);
    case 'client':
      return new GivenClientLink(target.client, listener);
  }
}

/** Without its cause: an error of the client, or of Node, may quote the options. */
function refusedByClient(error: unknown): JwtStateConfigError {
  const said = String((error as { message?: unknown } | undefined)?.message ?? 'no reason given');
  const reason = said.includes('://') ? 'its reason quotes a URL and is not shown' : said;
  return new JwtStateConfigError(
    `redisDenyList: @redis/client does not accept the options: ${reason}.`,
  );
}
