# Exchanges a datagram with Perl's IO::Socket::Socks: VERSION PROXY PORT USER PASSWORD HOST PORT TEXT.
# Writes who has answered, and what.
use strict;
use warnings;
use IO::Socket::Socks;
use Socket qw(inet_ntoa unpack_sockaddr_in);

my ($version, $proxy, $proxy_port, $user, $password, $host, $port, $text) = @ARGV;
my $socket = IO::Socket::Socks->new(
    SocksVersion => $version,
    SocksResolve => 1,
    ProxyAddr    => $proxy,
    ProxyPort    => $proxy_port,
    UdpAddr      => '0.0.0.0',
    UdpPort      => 0,
    AuthType     => 'userpass',
    Username     => $user,
    Password     => $password,
) or die "$SOCKS_ERROR\n";
defined $socket->send($text, 0, [$host, $port]) or die "$SOCKS_ERROR\n";
my $from = $socket->recv(my $data, 1500) or die "$SOCKS_ERROR\n";
my ($source, $address) = unpack_sockaddr_in($from);
print inet_ntoa($address), " $source $data\n";
