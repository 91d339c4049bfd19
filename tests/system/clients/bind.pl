# Lets one peer come with Perl's IO::Socket::Socks: VERSION PROXY PORT USER PASSWORD HOST.
# Writes where it can come to, then who has come, and sends back what that says.
use strict;
use warnings;
use IO::Socket::Socks;

my ($version, $proxy, $proxy_port, $user, $password, $host) = @ARGV;
my @login = $version == 5 ? (AuthType => 'userpass', Username => $user, Password => $password) : ();
$| = 1;
my $socket = IO::Socket::Socks->new(
    SocksVersion => $version,
    SocksResolve => 1,
    ProxyAddr    => $proxy,
    ProxyPort    => $proxy_port,
    BindAddr     => $host,
    BindPort     => 9,
    @login,
) or die "$SOCKS_ERROR\n";
print join(' ', ($socket->dst)[0, 1]), "\n";
$socket->accept or die "$SOCKS_ERROR\n";
print join(' ', ($socket->dst)[0, 1]), "\n";
while (sysread($socket, my $data, 65536)) { syswrite($socket, $data) }
