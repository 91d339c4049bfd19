// Fetches through a proxy with Java's own SOCKS: VERSION PROXY PORT USER PASSWORD HOST PORT PATH.
import java.net.*;
import java.nio.charset.StandardCharsets;

public class Socks {
    public static void main(String[] words) throws Exception {
        boolean five = words[0].equals("5");
        System.setProperty("socksProxyVersion", words[0]);
        Authenticator.setDefault(new Authenticator() {
            protected PasswordAuthentication getPasswordAuthentication() {
                return new PasswordAuthentication(words[3], words[4].toCharArray());
            }
        });
        Proxy proxy = new Proxy(Proxy.Type.SOCKS, new InetSocketAddress(words[1], Integer.parseInt(words[2])));
        int port = Integer.parseInt(words[6]);
        try (Socket socket = new Socket(proxy)) {
            // Only an address that was not looked up here is sent as a name; Java has no version 4a.
            socket.connect(five ? InetSocketAddress.createUnresolved(words[5], port)
                                : new InetSocketAddress(words[5], port));
            String request = "GET " + words[7] + " HTTP/1.0\r\n\r\n";
            socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            socket.getInputStream().transferTo(System.out);
            System.out.flush();
        }
    }
}
