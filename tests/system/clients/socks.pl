# Fetches through a proxy with Perl's IO::Socket::Socks: VERSION PROXY PORT USER PASSWORD HOST PORT PATH.
use strict;
use warnings;
use IO::Socket::Socks;

my ($version, $proxy, $proxy_port, $user, $password, $host, $port, $path) = @ARGV;
my @login = $version == 5 ? (AuthType => 'userpass', Username => $user, Password => $password) : ();
my $socket = IO::Socket::Socks->new(
    SocksVersion => $version,
    SocksResolve => 1,
    ProxyAddr    => $proxy,
    ProxyPort    => $proxy_port,
    ConnectAddr  => $host,
    ConnectPort  => $port,
    @login,
) or die "$SOCKS_ERROR\n";
print $socket "GET $path HTTP/1.0\r\n\r\n";
binmode STDOUT;
while (read($socket, my $data, 65536)) { print $data }
