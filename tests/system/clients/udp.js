// Exchanges a datagram with npm's socks: VERSION PROXY PORT USER PASSWORD HOST PORT TEXT.
// Writes who has answered, and what.
const dgram = require("dgram");
const { SocksClient } = require("socks");

const [version, proxy, proxyPort, userId, password, host, port, text] = process.argv.slice(2);
const client = new SocksClient({
  proxy: { host: proxy, port: Number(proxyPort), type: Number(version), userId, password },
  command: "associate",
  destination: { host: "0.0.0.0", port: 0 },
});
client.on("established", ({ socket, remoteHost }) => {
  const datagrams = dgram.createSocket("udp4");
  datagrams.on("message", (message) => {
    const { remoteHost: from, data } = SocksClient.parseUDPFrame(message);
    console.log(`${from.host} ${from.port} ${data}`);
    datagrams.close();
    socket.destroy();
  });
  const frame = { remoteHost: { host, port: Number(port) }, data: Buffer.from(text) };
  datagrams.send(SocksClient.createUDPFrame(frame), remoteHost.port, remoteHost.host);
});
client.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
client.connect();
