// Node.js' documented ways to pin, for benchmarks/scoreboard.py.
// usage: node scoreboard_node.js plain|secureConnect|checkServerIdentity PORT HOST BASE64[,BASE64…] MILLISECONDS
const crypto = require('crypto');
const https = require('https');
const tls = require('tls');

const [way, port, host, pins, timeout] = process.argv.slice(2);

function isPinned(certificate) {
  // cert.pubkey of the documentation's example is no SPKI for ECDSA keys.
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  return pins.split(',').includes(crypto.createHash('sha256').update(spki).digest('base64'));
}

const options = {
  host: '127.0.0.1',
  port,
  servername: host,
  path: '/things',
  headers: { host, authorization: 'Bearer the-secret-token' },
  signal: AbortSignal.timeout(Number(timeout)),
};
if (way === 'checkServerIdentity') {
  options.checkServerIdentity = (_name, certificate) => {
    const error = tls.checkServerIdentity(host, certificate);
    if (error) return error;
    return isPinned(new crypto.X509Certificate(certificate.raw)) ? undefined : new Error('wrong pin');
  };
}
const request = https.get(options, (response) => response.resume());
if (way === 'secureConnect') {
  request.on('socket', (socket) => {
    socket.on('secureConnect', () => {
      if (!isPinned(socket.getPeerX509Certificate())) request.destroy(new Error('wrong pin'));
    });
  });
}
request.on('error', (error) => {
  console.error(String(error));
  process.exitCode = 1;
});
