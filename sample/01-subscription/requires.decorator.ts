import { type CanActivate, type ExecutionContext, UseGuards } from '@nestjs/common';
import type { VerifiedToken } from 'nestjs-jwt-state';
import type { UserClaims } from './users/user.js';

/** 403 unless the token says so. It runs after the global guard, so it sees the claims of now. */
export function Requires(claim: keyof UserClaims, value: string) {
  const guard: CanActivate = {
    canActivate(context: ExecutionContext): boolean {
      const { user } = context.switchToHttp().getRequest<{ user: VerifiedToken<UserClaims> }>();
      return user[claim] === value;
    },
  };
  return UseGuards(guard);
}
