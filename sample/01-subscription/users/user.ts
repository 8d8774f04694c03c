export const PLANS = ['free', 'premium'] as const;
export const ROLES = ['member', 'admin'] as const;

/** What a user's token says. */
export type UserClaims = {
  plan: (typeof PLANS)[number];
  role: (typeof ROLES)[number];
  tenant: string;
};

export type User = UserClaims & { passwordHash: string };

/** What can be changed about a user. */
export type UserChange = Partial<Pick<User, 'plan' | 'role'>>;
