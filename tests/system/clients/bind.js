// Lets one peer come with npm's socks: VERSION PROXY PORT USER PASSWORD HOST.
// Writes where it can come to, then who has come, and sends back what that says.
const { SocksClient } = require("socks");

const [version, proxy, proxyPort, userId, password, host] = process.argv.slice(2);
const client = new SocksClient({
  proxy: { host: proxy, port: Number(proxyPort), type: Number(version), userId, password },
  command: "bind",
  destination: { host, port: 9 },
});
const show = ({ remoteHost }) => console.log(`${remoteHost.host} ${remoteHost.port}`);
client.on("bound", show);
client.on("established", (info) => {
  show(info);
  info.socket.pipe(info.socket);
});
client.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
client.connect();
