// What Node programs expect of etcd through the package etcd3: `node suite.js URL,…` prints one line
// for each check, ok or FAIL. NODE_PATH says where the package is.
'use strict';

const assert = require('node:assert/strict');
const { Etcd3, EtcdLockFailedError } = require('etcd3');

const hosts = process.argv[2].split(',');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const event = (emitter, name) => new Promise((resolve) => emitter.once(name, resolve));
const checks = [];
const check = (name, run) => checks.push({ name, run });

check('put, get, and what is absent', async ({ client }) => {
  await client.put('a').value('1');
  assert.equal(await client.get('a').string(), '1');
  assert.equal(await client.get('none'), null);
  await client.put('n').value(42);
  assert.equal(await client.get('n').number(), 42);
});

check('json and buffers', async ({ client }) => {
  await client.put('j').value(JSON.stringify({ x: [1, 2] }));
  assert.deepEqual(await client.get('j').json(), { x: [1, 2] });
  await client.put('b').value(Buffer.from([0, 255, 1]));
  assert.deepEqual([...(await client.get('b').buffer())], [0, 255, 1]);
});

check('all of a prefix: strings, keys, count, limit, order', async ({ client }) => {
  for (const [key, value] of [['p/b', '1'], ['p/a', '2'], ['p/c', '0']]) await client.put(key).value(value);
  assert.deepEqual(await client.getAll().prefix('p/').strings(), { 'p/a': '2', 'p/b': '1', 'p/c': '0' });
  assert.deepEqual(await client.getAll().prefix('p/').sort('Value', 'Ascend').keys(), ['p/c', 'p/b', 'p/a']);
  assert.deepEqual(await client.getAll().prefix('p/').sort('Key', 'Descend').limit(1).keys(), ['p/c']);
  assert.equal(await client.getAll().prefix('p/').count(), 3);
});

check('previous value of a put', async ({ client }) => {
  await client.put('a').value('1');
  const before = await client.put('a').value('2').getPrevious();
  assert.equal(before.value.toString(), '1');
});

check('reads at a revision', async ({ client }) => {
  const first = await client.put('a').value('1');
  await client.put('a').value('2');
  assert.equal(await client.get('a').revision(first.header.revision).string(), '1');
});

check('delete a key and a range', async ({ client }) => {
  for (const key of ['d/1', 'd/2', 'd/3']) await client.put(key).value('x');
  assert.equal((await client.delete().key('d/1').exec()).deleted, '1');
  assert.equal((await client.delete().prefix('d/').getPrevious()).length, 2);
});

check('transactions', async ({ client }) => {
  await client.put('a').value('1');
  const then = client.put('a').value('2');
  const otherwise = client.get('a');
  const yes = await client.if('a', 'Value', '==', '1').and('a', 'Version', '>', 0).then(then).else(otherwise).commit();
  assert.equal(yes.succeeded, true);
  const no = await client.if('a', 'Value', '==', '1').then(then).else(otherwise).commit();
  assert.equal(no.succeeded, false);
  assert.equal(no.responses[0].response_range.kvs[0].value.toString(), '2');
});

check('software transactional memory', async ({ client }) => {
  await client.put('n').value(0);
  const increment = () =>
    client.stm({ retries: 50 }).transact(async (tx) => tx.put('n').value((await tx.get('n').number()) + 1));
  await Promise.all([...Array(5)].map(increment));
  assert.equal(await client.get('n').number(), 5);
});

check('a lease takes its keys along', async ({ client }) => {
  const lease = client.lease(60);
  const id = await lease.grant();
  await lease.put('a').value('1');
  assert.equal((await client.get('a').exec()).kvs[0].lease, id);
  await lease.revoke();
  assert.equal(await client.get('a'), null);
});

check('a lease kept alive lives on', async ({ client }) => {
  const lease = client.lease(2);
  await lease.put('a').value('1');
  await event(lease, 'keepaliveSucceeded');
  await sleep(4000);
  assert.equal(await client.get('a').string(), '1');
  await lease.revoke();
});

check('a lost lease is noticed', async ({ client }) => {
  const lease = client.lease(2);
  const id = await lease.grant();
  const lost = event(lease, 'lost');
  await client.leaseClient.leaseRevoke({ ID: id });
  await lost;
});

check('watch a key', async ({ client }) => {
  const watcher = await client.watch().key('a').create();
  const put = event(watcher, 'put');
  await client.put('a').value('1');
  assert.equal((await put).value.toString(), '1');
  const deleted = event(watcher, 'delete');
  await client.delete().key('a');
  await deleted;
  await watcher.cancel();
});

check('watch a prefix from a revision, with previous values', async ({ client }) => {
  const first = await client.put('w/a').value('1');
  await client.put('w/a').value('2');
  const seen = [];
  const watcher = client.watch().prefix('w/').startRevision(first.header.revision).withPreviousKV().watcher();
  watcher.on('put', (kv, previous) => seen.push([kv.value.toString(), previous && previous.value.toString()]));
  while (seen.length < 2) await sleep(20);
  assert.equal(seen[0][0], '1');
  assert.deepEqual(seen[1], ['2', '1']);
  await watcher.cancel();
});

check('many watchers on one stream', async ({ client }) => {
  const watchers = await Promise.all([...Array(20).keys()].map((i) => client.watch().key(`m/${i}`).create()));
  const all = watchers.map((watcher) => event(watcher, 'put'));
  for (const i of watchers.keys()) await client.put(`m/${i}`).value(String(i));
  assert.deepEqual((await Promise.all(all)).map((kv) => Number(kv.value)), [...watchers.keys()]);
  await Promise.all(watchers.map((watcher) => watcher.cancel()));
});

check('locks exclude', async ({ client }) => {
  const first = client.lock('l').ttl(10);
  await first.acquire();
  await assert.rejects(client.lock('l').ttl(10).acquire(), EtcdLockFailedError);
  await first.release();
  await client.lock('l').ttl(10).do(async () => assert.notEqual(await client.get('l'), null));
});

check('elections', async ({ client }) => {
  const election = client.election('e', 10);
  const one = election.campaign('one');
  await one.wait();
  assert.equal(await election.leader(), 'one');
  const observer = await election.observe();
  assert.equal(observer.leader(), 'one');
  await one.proclaim('still one');
  const two = election.campaign('two');
  await one.resign();
  await two.wait();
  assert.equal(await election.leader(), 'two');
  await observer.cancel();
  await two.resign();
});

check('members, status, alarms', async ({ plain }) => {
  assert.equal((await plain.cluster.memberList({})).members.length, 3);
  assert.match((await plain.maintenance.status()).version, /^3\./);
  assert.deepEqual((await plain.maintenance.alarm({ action: 0, memberID: 0, alarm: 0 })).alarms, []);
});

check('errors have their kinds', async ({ client, plain }) => {
  await assert.rejects(client.put('a').value('1').lease('123456789').exec(), /requested lease not found/);
  await assert.rejects(plain.kv.put({ key: Buffer.alloc(0), value: Buffer.from('x') }), /key is not provided/);
  await assert.rejects(plain.kv.compact({ revision: '100000000' }), /future revision/);
});

check('users, roles, authorization', async ({ plain, client }) => {
  const root = plain.user('root');
  await root.create('pw');
  await plain.role('root').create();
  await root.addRole('root');
  const nora = await plain.user('nora').create('pw');
  const role = await plain.role('nora').create();
  await role.grant({ permission: 'Readwrite', range: plain.range({ prefix: 'node/' }) });
  await nora.addRole('nora');
  assert.deepEqual((await nora.roles()).map((each) => each.name), ['nora']);
  assert.equal((await role.permissions())[0].permission, 'Readwrite');
  await plain.auth.authEnable();
  await sleep(500); // until every member has applied it
  const as = (username) => new Etcd3({ hosts, auth: { username, password: 'pw' } });
  const master = as('root');
  const other = as('nora');
  try {
    await assert.rejects(client.get('a').exec(), /user name is empty/);
    await other.put('node/x').value('1');
    await assert.rejects(other.put('elsewhere').value('1').exec(), /permission denied/);
  } finally {
    await master.auth.authDisable();
    for (const name of ['root', 'nora']) {
      await master.user(name).delete();
      await master.role(name).delete();
    }
    master.close();
    other.close();
  }
});

async function main() {
  let failed = 0;
  for (const [number, { name, run }] of checks.entries()) {
    const plain = new Etcd3({ hosts });
    const client = plain.namespace(`node/${number}/`);
    client.leaseClient = plain.leaseClient;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('not done in 30 s')), 30_000);
    });
    try {
      await Promise.race([run({ plain, client }), late]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}: ${String(error.message).split('\n').slice(0, 3).join(' ')}`);
    }
    clearTimeout(timer);
    plain.close();
  }
  process.exit(failed > 0 ? 1 : 0);
}

main();
