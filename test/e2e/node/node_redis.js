// node-redis against the Redis protocol's port, in RESP2 and RESP3. node node_redis.js PORT
'use strict';
const assert = require('assert');
const { createClient, WatchError } = require('redis');

async function session(port, RESP) {
  const client = createClient({ socket: { port, host: '127.0.0.1', reconnectStrategy: false }, RESP });
  client.on('error', (error) => { throw error; });
  await client.connect();
  assert.strictEqual(await client.ping(), 'PONG');
  assert.strictEqual(await client.set('a', 'ä\r\n'), 'OK');
  assert.strictEqual(await client.get('a'), 'ä\r\n');
  assert.strictEqual(await client.get('none'), null);
  assert.strictEqual(await client.set('a', 'x', { condition: 'NX' }), null);
  assert.strictEqual(await client.set('t', '1', { expiration: { type: 'EX', value: 100 } }), 'OK');
  assert.ok((await client.ttl('t')) > 0);
  assert.strictEqual(await client.del('n'), RESP === 2 ? 0 : 1);
  assert.strictEqual(await client.incrBy('n', 5), 5);
  assert.strictEqual(await client.mSet({ x: '1', y: '2' }), 'OK');
  assert.deepStrictEqual(await client.mGet(['x', 'none', 'y']), ['1', null, '2']);
  await assert.rejects(client.incr('a'), /value is not an integer or out of range/);
  assert.deepStrictEqual(await client.multi().set('m', '1').incr('m').get('m').exec(), ['OK', 2, '2']);
  assert.deepStrictEqual(await Promise.all([client.get('x'), client.get('y'), client.exists('x')]), ['1', '2', 1]);

  const other = await client.duplicate().connect();
  await client.watch('m');
  await other.set('m', '9');
  await assert.rejects(client.multi().set('m', '10').exec(), WatchError);
  await other.close();

  const keys = new Set();
  await Promise.all(Array.from({ length: 300 }, (_, i) => client.set(`scan:${i}`, `${i}`)));
  for await (const page of client.scanIterator({ MATCH: 'scan:*', COUNT: 50 })) page.forEach((k) => keys.add(k));
  assert.strictEqual(keys.size, 300);
  assert.strictEqual(await client.hello().then((h) => h.proto), RESP);
  assert.match(await client.info('server'), /redis_version:7\.2\.4/);
  await client.close();
}

async function main(port) {
  await session(port, 2);
  await session(port, 3);
}

main(Number(process.argv[2])).then(() => console.log('done'), (error) => {
  console.error(error);
  process.exit(1);
});
