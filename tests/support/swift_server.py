#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""OpenStack Swift with its S3 interface in one process, for tests: swift_server.py FOLDER [CERTIFICATE KEY]

Listens on loopback, on a port of its own, and says "listening PORT" when it serves. Signatures are checked. Access key
test:tester, secret key testing, region us-east-1; there is a bucket "bucket". Keeps everything in FOLDER, which must have
extended attributes. Ends with 77 and a reason where Debian's swift-proxy, swift-account, swift-container and swift-object
are not installed, and by itself when whoever started it ends. WYE_SWIFT_SKEW=SECONDS sets its clock that much forward.
"""
import ctypes
import http.client
import logging
import os
import signal
import ssl
import sys
import time
import warnings

warnings.simplefilter('ignore')


REAL_TIME, SKEW = time.time, float(os.environ.get('WYE_SWIFT_SKEW', 0))
if SKEW:
    time.time = lambda: REAL_TIME() + SKEW


def skip(why):
    print('skipped: ' + why, flush=True)
    sys.exit(77)


try:
    import eventlet
    eventlet.monkey_patch()
    import eventlet.debug
    import eventlet.wsgi
    import swift.common.utils
except ImportError as e:
    skip('OpenStack Swift is not installed (%s)' % e)

FOLDER = os.path.abspath(sys.argv[1])
TLS = sys.argv[2:4]
FILTERS = 'catch_errors proxy-logging listing_formats s3api tempauth bulk slo dlo'
OPTIONS = {
    's3api': 'location = us-east-1\ns3_acl = false\nmax_upload_part_num = 10000\n',
    'tempauth': 'user_test_tester = testing .admin\n',
}


class Cache(dict):
    """Stands in for memcached: in one process a dictionary does."""

    def __bool__(self):
        return True  # Swift takes an empty one for none

    def get(self, key, **_):
        value, until = dict.get(self, key, (None, 0))
        return value if not until or until > time.time() else None

    def set(self, key, value, serialize=True, time=0, **_):
        dict.__setitem__(self, key, (value, time and globals()['time'].time() + time))

    def incr(self, key, delta=1, time=0, **_):
        value = (self.get(key) or 0) + delta
        self.set(key, value, time=time)
        return value

    def decr(self, key, delta=1, time=0, **_):
        return self.incr(key, -delta, time)

    def delete(self, key, **_):
        self.pop(key, None)

    def set_multi(self, mapping, key, time=0, **_):
        for k, value in mapping.items():
            self.set((key, k), value, time=time)

    def get_multi(self, keys, key, **_):
        return [self.get((key, k)) for k in keys]


def write(path, text):
    with open(path, 'w') as f:
        f.write(text)
    return path


def prepare():
    for d in ('etc', 'srv/d1', 'cache'):
        os.makedirs(os.path.join(FOLDER, d), exist_ok=True)
    try:
        os.setxattr(FOLDER, 'user.wye', b'1')
    except OSError as e:
        skip('no extended attributes in %s (%s)' % (FOLDER, e))
    write(FOLDER + '/etc/swift.conf', '[swift-hash]\nswift_hash_path_suffix = s\nswift_hash_path_prefix = p\n'
          '[storage-policy:0]\nname = p0\ndefault = yes\n')
    swift.common.utils.set_swift_dir(FOLDER + '/etc')
    swift.common.utils.validate_configuration()
    from swift.common.storage_policy import reload_storage_policies
    reload_storage_policies()


def load(name, text):
    from swift.common import wsgi
    common = ('[DEFAULT]\nswift_dir = %s/etc\ndevices = %s/srv\nmount_check = false\nrecon_cache_path = %s/cache\n'
              'fallocate_reserve = 0\nlog_level = ERROR\nlog_address = /nonexistent\n' % (FOLDER, FOLDER, FOLDER))
    return wsgi.loadapp(write('%s/etc/%s.conf' % (FOLDER, name), common + text))


def serve(sock, app):
    from swift.common.wsgi import SwiftHttpProtocol
    eventlet.wsgi.server(sock, app, log=open(os.devnull, 'w'), log_output=False, protocol=SwiftHttpProtocol,
                         capitalize_response_headers=False, custom_pool=eventlet.GreenPool(1024))


def start_storage():
    """Account, container and object servers, each the only one of its ring."""
    from swift.common.ring import RingBuilder
    socks = {name: eventlet.listen(('127.0.0.1', 0), backlog=512) for name in ('account', 'container', 'object')}
    for name, sock in socks.items():
        port = sock.getsockname()[1]
        builder = RingBuilder(2, 1, 0)
        builder.add_dev(dict(region=1, zone=1, ip='127.0.0.1', port=port, device='d1', weight=1.0,
                             replication_ip='127.0.0.1', replication_port=port, meta=''))
        builder.rebalance()
        builder.get_ring().save('%s/etc/%s.ring.gz' % (FOLDER, name))
    for name, sock in socks.items():
        text = '[pipeline:main]\npipeline = %s-server\n[app:%s-server]\nuse = egg:swift#%s\n' % (name, name, name)
        eventlet.spawn(serve, sock, load(name + '-server', text))


def make_proxy():
    # Without proxy-logging a HEAD of 404 has a chunk's end behind it, which poisons the connection.
    text = ('[pipeline:main]\npipeline = %s proxy-server\n[app:proxy-server]\nuse = egg:swift#proxy\n'
            'account_autocreate = true\nconn_timeout = 10\nnode_timeout = 60\nrecoverable_node_timeout = 60\n'
            'client_timeout = 120\nerror_suppression_limit = 1000000\n' % FILTERS)
    for name in FILTERS.split():
        text += '[filter:%s]\nuse = egg:swift#%s\n%s' % (name, name.replace('-', '_'), OPTIONS.get(name, ''))
    return load('proxy-server', text)


def make_bucket(port, name):
    """By Swift's own interface, which knows it as a container."""
    if TLS:
        c = http.client.HTTPSConnection('127.0.0.1', port, context=ssl._create_unverified_context())
    else:
        c = http.client.HTTPConnection('127.0.0.1', port)
    c.request('GET', '/auth/v1.0', headers={'X-Auth-User': 'test:tester', 'X-Auth-Key': 'testing'})
    answer = c.getresponse()
    answer.read()
    c.request('PUT', '/v1/AUTH_test/' + name, headers={'X-Auth-Token': answer.headers['X-Auth-Token']})
    answer = c.getresponse()
    answer.read()
    if answer.status // 100 != 2:
        sys.exit('no bucket: %d' % answer.status)
    print('listening', port, flush=True)


def main():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    logging.basicConfig(level=logging.CRITICAL)
    eventlet.debug.hub_exceptions(False)
    prepare()
    start_storage()
    proxy, cache = make_proxy(), Cache()

    def with_cache(env, start):
        env['swift.cache'] = cache
        return proxy(env, start)

    sock = eventlet.listen(('127.0.0.1', 0), backlog=512)
    port = sock.getsockname()[1]
    if TLS:
        sock = eventlet.wrap_ssl(sock, certfile=TLS[0], keyfile=TLS[1], server_side=True)
    eventlet.spawn_after(0.1, make_bucket, port, 'bucket')
    serve(sock, with_cache)


main()
