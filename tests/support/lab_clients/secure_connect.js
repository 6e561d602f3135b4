// Pinning in Node.js by a check in the event `secureConnect`.
// usage: node secure_connect.js ADDRESS PORT HOST BASE64[,BASE64…]
const crypto = require('crypto');
const https = require('https');

const [address, port, host, pins] = process.argv.slice(2);
const headers = { host, authorization: 'Bearer token' };
const request = https.request({ host: address, port, servername: host, path: '/', headers }, (response) => {
  response.resume();
});
request.on('socket', (socket) => {
  socket.on('secureConnect', () => {
    const spki = socket.getPeerX509Certificate().publicKey.export({ type: 'spki', format: 'der' });
    const pin = crypto.createHash('sha256').update(spki).digest('base64');
    if (!pins.split(',').includes(pin)) request.destroy(new Error('wrong pin'));
  });
});
request.on('error', (error) => {
  console.error(String(error));
  process.exitCode = 1;
});
request.end();
