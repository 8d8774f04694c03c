import type { DenyListConfig } from '../config/deny-list.config.js';

/** The warning of a boot whose deny list is kept in memory: what a restart does, and what to set instead. */
export function memoryNotice({ onLoss }: Pick<DenyListConfig, 'onLoss'>): string {
  const restart =
    onLoss === 'reject'
      ? 'a restart ends every session (with `nest start --watch`, each save does)'
      : `a restart forgets every revocation, and with denyList.onLoss: '${onLoss}' revoked tokens work again`;
  const development =
    onLoss === 'reject'
      ? "For development set denyList.onLoss: 'accept'; sessions then go on. "
      : '';
  return (
    `The deny list is kept in memory: ${restart}, and other processes do not see its revocations. ` +
    `${development}For production set denyList.cache, such as redisDenyList() of nestjs-jwt-state/redis.`
  );
}
