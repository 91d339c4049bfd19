// Fetches through a proxy with npm's socks: VERSION PROXY PORT USER PASSWORD HOST PORT PATH.
const { SocksClient } = require("socks");

const [version, proxy, proxyPort, userId, password, host, port, path] = process.argv.slice(2);
SocksClient.createConnection({
  proxy: { host: proxy, port: Number(proxyPort), type: Number(version), userId, password },
  command: "connect",
  destination: { host, port: Number(port) },
}).then(({ socket }) => {
  socket.write(`GET ${path} HTTP/1.0\r\n\r\n`);
  socket.pipe(process.stdout);
}, (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
