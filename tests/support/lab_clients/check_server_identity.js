// Pinning in Node.js by `checkServerIdentity`.
// usage: node check_server_identity.js ADDRESS PORT HOST BASE64[,BASE64…]
const crypto = require('crypto');
const https = require('https');
const tls = require('tls');

const [address, port, host, pins] = process.argv.slice(2);

function checkServerIdentity(_name, certificate) {
  const error = tls.checkServerIdentity(host, certificate);
  if (error) return error;
  const spki = new crypto.X509Certificate(certificate.raw).publicKey.export({ type: 'spki', format: 'der' });
  const pin = crypto.createHash('sha256').update(spki).digest('base64');
  return pins.split(',').includes(pin) ? undefined : new Error('wrong pin');
}

const headers = { host, authorization: 'Bearer token' };
const options = { host: address, port, servername: host, path: '/', headers, checkServerIdentity };
const request = https.request(options, (response) => response.resume());
request.on('error', (error) => {
  console.error(String(error));
  process.exitCode = 1;
});
request.end();
