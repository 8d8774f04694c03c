import type { IncomingMessage } from 'node:http';
import {
  Body,
  Controller,
  Headers,
  HttpCode,
  NotFoundException,
  Post,
  type RawBodyRequest,
  Req,
  UnauthorizedException,
} from '@nestjs/common';
import { Public, TokenService } from 'nestjs-jwt-state';
import { oneOf, readBody } from '../../../01-subscription/body.js';
import { PLANS } from '../../../01-subscription/users/user.js';
import { required } from '../../shared/settings.js';
import { Users } from '../users/users.js';
import { PaymentEvents } from './payment-events.js';
import { isSigned } from './signature.js';

/** The payment provider says what was paid for. No user is there, so nobody can be given a token. */
@Controller('webhooks/payment')
export class PaymentController {
  private readonly secret = required('WEBHOOK_SECRET');

  constructor(
    private readonly events: PaymentEvents,
    private readonly users: Users,
    private readonly tokens: TokenService,
  ) {}

  @Public()
  @Post()
  @HttpCode(200)
  async receive(
    @Req() { rawBody }: RawBodyRequest<IncomingMessage>,
    @Headers('webhook-signature') signature: string | undefined,
    @Body() body: unknown,
  ) {
    if (!rawBody || !isSigned(signature, rawBody, this.secret)) {
      throw new UnauthorizedException('The signature is missing, wrong or too old.');
    }
    const { id, username, plan } = readBody(body, 'id', 'username', 'plan');
    if (await this.events.isDone(id)) return { received: true, repeated: true };
    if (!(await this.users.change(username, { plan: oneOf('plan', PLANS, plan) }))) {
      throw new NotFoundException('There is no such user.');
    }
    await this.tokens.markStale({ sub: username });
    // At the end: if anything above fails, the provider sends the event again.
    await this.events.setDone(id);
    return { received: true };
  }
}
