// ioredis against the Redis protocol's port: what its users do. node ioredis.js PORT
'use strict';
const assert = require('assert');
const Redis = require('ioredis');

async function main(port) {
  const redis = new Redis({ port, host: '127.0.0.1', maxRetriesPerRequest: 2 });
  assert.strictEqual(await redis.ping(), 'PONG');
  assert.strictEqual(await redis.set('a', 'ä\0b'), 'OK');
  assert.strictEqual(await redis.get('a'), 'ä\0b');
  assert.deepStrictEqual(await redis.getBuffer('a'), Buffer.from('ä\0b'));
  assert.strictEqual(await redis.get('none'), null);
  assert.strictEqual(await redis.set('t', '1', 'EX', 100, 'NX'), 'OK');
  assert.ok((await redis.ttl('t')) > 0);
  assert.strictEqual(await redis.incrby('n', 41), 41);
  assert.strictEqual(await redis.incr('n'), 42);
  assert.strictEqual(await redis.mset(new Map([['x', '1'], ['y', '2']])), 'OK');
  assert.deepStrictEqual(await redis.mget('x', 'none', 'y'), ['1', null, '2']);
  await assert.rejects(redis.incr('a'), /value is not an integer or out of range/);

  const replies = await redis.pipeline().set('p', '1').incr('p').get('p').incr('a').exec();
  assert.deepStrictEqual(replies.slice(0, 3), [[null, 'OK'], [null, 2], [null, '2']]);
  assert.match(replies[3][0].message, /not an integer/);
  assert.deepStrictEqual(await redis.multi().set('m', '1').incr('m').exec(), [[null, 'OK'], [null, 2]]);

  const other = redis.duplicate();
  await redis.watch('m');
  await other.set('m', '9');
  assert.strictEqual(await redis.multi().set('m', '10').exec(), null);
  other.disconnect();

  const many = redis.pipeline();
  for (let i = 0; i < 1000; i++) many.set(`scan:${i}`, i);
  await many.exec();
  const seen = new Set();
  for await (const keys of redis.scanStream({ match: 'scan:*', count: 100 })) keys.forEach((k) => seen.add(k));
  assert.strictEqual(seen.size, 1000);
  assert.strictEqual(await redis.del('a', 'none'), 1);
  assert.match(await redis.info('server'), /redis_version:7\.2\.4/);

  const auto = redis.duplicate({ enableAutoPipelining: true, keyPrefix: 'scan:' });
  assert.deepStrictEqual(await Promise.all([1, 2, 3].map((i) => auto.get(i))), ['1', '2', '3']);
  await auto.quit();
  assert.strictEqual(await redis.quit(), 'OK');
}

main(Number(process.argv[2])).then(() => console.log('done'), (error) => {
  console.error(error);
  process.exit(1);
});
