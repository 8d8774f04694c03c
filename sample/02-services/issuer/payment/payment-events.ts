import { Inject, Injectable } from '@nestjs/common';
import type { Redis } from '../../../01-subscription/redis.js';
import { answered } from '../../shared/answered.js';
import { keyPrefix } from '../../shared/settings.js';
import { REDIS } from '../../shared/storage.module.js';

/** Longer than the provider keeps trying. */
const KEPT_FOR_SECONDS = 7 * 24 * 60 * 60;

/** The events that have been dealt with: providers send one until they get their 200, or twice. */
@Injectable()
export class PaymentEvents {
  constructor(@Inject(REDIS) private readonly redis: Redis) {}

  async isDone(id: string): Promise<boolean> {
    return (await answered(this.redis.exists(keyOf(id)))) > 0;
  }

  async setDone(id: string): Promise<void> {
    await answered(this.redis.set(keyOf(id), '1', { EX: KEPT_FOR_SECONDS }));
  }
}

function keyOf(id: string): string {
  return `${keyPrefix()}payment-event:${id}`;
}
