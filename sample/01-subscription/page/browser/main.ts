import { Device } from './device.js';
import { type TokenEvent, TokenLives } from './token-lives.js';

const grace = Number(document.body.dataset.grace);
const lives = new TokenLives(() => drawAll());

const phone = new Device(
  { title: "Alice's phone", username: 'alice', className: 'phone' },
  lives,
  grace,
);
const laptop = new Device(
  { title: "Alice's laptop", username: 'alice', className: 'laptop' },
  lives,
  grace,
);
const admin = new Device(
  { title: 'Administrator', username: 'root', className: 'admin' },
  lives,
  grace,
);
const devices = [phone, laptop, admin];

for (const device of [phone, laptop]) {
  device.offer('Upgrade to premium', '/subscription', { plan: 'premium' });
  device.offer('Downgrade to free', '/subscription', { plan: 'free' });
}
admin.offer('Make Alice an admin', '/admin/users/alice/role', { role: 'admin' });
admin.offer('Make Alice a member', '/admin/users/alice/role', { role: 'member' });

document.getElementById('devices')?.append(...devices.map((device) => device.element));

// What happens on the server, to whichever token: the page hears it as an audit log would.
new EventSource('/events').addEventListener('message', ({ data }) => {
  lives.hear(JSON.parse(data) as TokenEvent);
});

// Time goes on: bars grow, grace periods end.
setInterval(drawAll, 1_000);

function drawAll(): void {
  for (const device of devices) device.draw();
}
