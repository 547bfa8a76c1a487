use super::*;

/// Parses the string, and names it if that fails.
fn dsn(text: &str) -> Dsn {
    Dsn::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> DsnError {
    match Dsn::parse(text) {
        Ok(dsn) => panic!("{text}: was taken as {dsn:?}"),
        Err(error) => error,
    }
}

fn password(dsn: &Dsn) -> &str {
    std::str::from_utf8(dsn.config.get_password().unwrap_or_default()).unwrap()
}

fn verify(text: &str) -> Verify {
    dsn(text).tls.unwrap_or_else(|| panic!("{text}: no TLS")).verify
}

const NO_WARNINGS: &[String] = &[];

#[test]
fn strings_of_providers() {
    // The strings that each provider's console shows, with other names and passwords, and how pgfox reads them.
    let cases = [
        (
            "Neon",
            "postgresql://alex:AbC123dEf@ep-cool-darkness-123456.us-east-2.aws.neon.tech/dbname?sslmode=require&channel_binding=require",
            "alex@ep-cool-darkness-123456.us-east-2.aws.neon.tech:5432/dbname",
        ),
        (
            "Neon, pooled, endpoint in options",
            "postgres://alex:AbC123dEf@ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech/dbname?sslmode=require&options=endpoint%3Dep-cool-darkness-123456",
            "alex@ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech:5432/dbname",
        ),
        (
            "Supabase, direct",
            "postgresql://postgres:pass%23word@db.abcdefghijkl.supabase.co:5432/postgres",
            "postgres@db.abcdefghijkl.supabase.co:5432/postgres",
        ),
        (
            "Supabase, session pooler",
            "postgres://postgres.abcdefghijkl:pw@aws-0-eu-central-1.pooler.supabase.com:5432/postgres",
            "postgres.abcdefghijkl@aws-0-eu-central-1.pooler.supabase.com:5432/postgres",
        ),
        (
            "RDS",
            "postgresql://master:pw@mydb.c1abc2def3gh.eu-west-1.rds.amazonaws.com:5432/app?sslmode=verify-full&sslrootcert=/etc/ssl/rds/global-bundle.pem",
            "master@mydb.c1abc2def3gh.eu-west-1.rds.amazonaws.com:5432/app",
        ),
        (
            "Aurora, key=value",
            "host=c.cluster-abc.us-east-1.rds.amazonaws.com port=5432 dbname=app user=master password='a b\\'c' sslmode=require",
            "master@c.cluster-abc.us-east-1.rds.amazonaws.com:5432/app",
        ),
        (
            "Cloud SQL, Unix socket in the query",
            "postgres://user:pw@/app?host=/cloudsql/project:region:instance",
            "user@/cloudsql/project:region:instance:5432/app",
        ),
        (
            "Cloud SQL, Unix socket as host",
            "postgresql://user:pw@%2Fcloudsql%2Fproject%3Aregion%3Ainstance/app?sslmode=require",
            "user@/cloudsql/project:region:instance:5432/app",
        ),
        (
            "Azure, single server",
            "postgres://app%40myserver:pw@myserver.postgres.database.azure.com:5432/postgres?sslmode=require",
            "app@myserver@myserver.postgres.database.azure.com:5432/postgres",
        ),
        (
            "Azure, key=value",
            "host=myserver.postgres.database.azure.com port=5432 dbname=postgres user=app@myserver password=pw sslmode=require",
            "app@myserver@myserver.postgres.database.azure.com:5432/postgres",
        ),
        (
            "Crunchy operator's secret",
            "postgresql://hippo:%5E%7Dv%3DW%7Cx@hippo-primary.postgres-operator.svc:5432/hippo",
            "hippo@hippo-primary.postgres-operator.svc:5432/hippo",
        ),
        (
            "CloudNativePG's secret",
            "postgresql://app:pw@cluster-example-rw.default:5432/app",
            "app@cluster-example-rw.default:5432/app",
        ),
        (
            "Heroku",
            "postgres://uabc:pdef0123@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d0abc?sslmode=no-verify",
            "uabc@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d0abc",
        ),
        (
            "DigitalOcean",
            "postgresql://doadmin:AVNS_pw@db-fra1-1234-do-user-1-0.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
            "doadmin@db-fra1-1234-do-user-1-0.b.db.ondigitalocean.com:25060/defaultdb",
        ),
        (
            "Aiven",
            "postgres://avnadmin:AVNS_pw@pg-1-x.aivencloud.com:28865/defaultdb?sslmode=verify-ca&sslrootcert=ca.pem",
            "avnadmin@pg-1-x.aivencloud.com:28865/defaultdb",
        ),
        (
            "Patroni, several hosts",
            "postgresql://app:pw@pg1:5432,pg2:5433,[2001:db8::1]/app?target_session_attrs=read-write&load_balance_hosts=random",
            "app@pg1:5432,pg2:5433,[2001:db8::1]:5432/app",
        ),
        ("a developer's machine", "postgres://localhost", "localhost:5432"),
        ("a local socket", "host=/var/run/postgresql dbname=app", "/var/run/postgresql:5432/app"),
    ];
    for (provider, text, described) in cases {
        let dsn = dsn(text);
        assert_eq!(dsn.describe(), described, "{provider}");
        assert_eq!(dsn.warnings(), NO_WARNINGS, "{provider}");
        assert_eq!(dsn.config.get_application_name(), Some("pgfox"), "{provider}");
    }
}

#[test]
fn hints_for_other_clients_are_ignored_and_named() {
    let dsn =
        dsn("postgres://postgres.abc:pw@aws-0-eu.pooler.supabase.com:6543/postgres?pgbouncer=true&connection_limit=1\
         &pool_timeout=20&schema=public&supa=base-pooler.x&pool_max_conns=4");
    let ignored = "connection_limit, pgbouncer, pool_max_conns, pool_timeout, schema, supa";
    let [warning] = dsn.warnings() else { panic!("{:?}", dsn.warnings()) };
    assert!(warning.ends_with(ignored), "{warning}");
    assert!(dsn.hints_at_unnamed_statements());
    for (hint, expected) in [("prepareThreshold=0", true), ("prepareThreshold=5", false), ("pgbouncer=false", false)] {
        let dsn = Dsn::parse(&format!("postgres://u:pw@h/d?{hint}")).unwrap();
        assert_eq!(dsn.hints_at_unnamed_statements(), expected, "{hint}");
    }

    let strict = Dsn::parse("postgres://u:pw@h/d?sslaccept=strict").unwrap();
    assert!(strict.warnings()[0].contains("verify-full"), "{:?}", strict.warnings());
}

#[test]
fn values_are_decoded() {
    let url =
        dsn("postgresql://us%40er:p%40ss%2Fw%3Ard%25+%C3%A9@h/my%20db?options=-c%20geqo%3Doff&application_name=a%26b");
    assert_eq!(url.config.get_user(), Some("us@er"));
    assert_eq!(password(&url), "p@ss/w:rd%+é");
    assert_eq!(url.config.get_dbname(), Some("my db"));
    assert_eq!(url.config.get_options(), Some("-c geqo=off"));
    assert_eq!(url.config.get_application_name(), Some("a&b"));

    let colon = dsn("postgresql://u:a:b?c#d&e=f@h/d");
    assert_eq!(password(&colon), "a:b?c#d&e=f");

    let pairs = dsn(r"host = h user='a b' password='it\'s \\ = fine' dbname=d\ e port=  5433");
    assert_eq!(pairs.config.get_user(), Some("a b"));
    assert_eq!(password(&pairs), r"it's \ = fine");
    assert_eq!(pairs.config.get_dbname(), Some("d e"));
    assert_eq!(pairs.config.get_ports(), [5433]);
}

#[test]
fn parameters_reach_the_driver() {
    let dsn = dsn("postgres://h1,h2/d?hostaddr=10.0.0.1,10.0.0.2&target_session_attrs=primary&channel_binding=disable\
         &connect_timeout=3&keepalives=0&keepalives_idle=30&keepalives_interval=5&keepalives_count=4&tcp_user_timeout=1500\
         &client_encoding=UTF8&gssencmode=disable&fallback_application_name=other");
    let config = &dsn.config;
    assert_eq!(config.get_hostaddrs().len(), 2);
    assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert_eq!(config.get_channel_binding(), ChannelBinding::Disable);
    assert_eq!(config.get_connect_timeout(), Some(&Duration::from_millis(1500)));
    assert_eq!(dsn.connect_timeout, Duration::from_secs(6), "3 s for each host");
    assert!(!config.get_keepalives());
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(30));
    assert_eq!(config.get_keepalives_interval(), Some(Duration::from_secs(5)));
    assert_eq!(config.get_keepalives_retries(), Some(4));
    assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
    assert_eq!(config.get_application_name(), Some("other"));
    assert_eq!(dsn.config.get_ssl_mode(), SslMode::Prefer);
}

#[test]
fn a_cut_connection_is_detected() {
    let default = dsn("postgres://h/d").config;
    assert!(default.get_keepalives());
    assert_eq!(default.get_keepalives_idle(), DEFAULT_KEEPALIVES_IDLE);
    assert_eq!(default.get_keepalives_interval(), Some(DEFAULT_KEEPALIVES_INTERVAL));
    assert_eq!(default.get_keepalives_retries(), Some(DEFAULT_KEEPALIVES_COUNT));
    assert_eq!(default.get_tcp_user_timeout(), Some(&DEFAULT_TCP_USER_TIMEOUT));
    // As in libpq, 0 means the system's default.
    let system = dsn("postgres://h/d?keepalives_interval=0&keepalives_count=0&tcp_user_timeout=0").config;
    assert_eq!(system.get_keepalives_interval(), None);
    assert_eq!(system.get_keepalives_retries(), None);
    assert_eq!(system.get_tcp_user_timeout(), Some(&Duration::ZERO));
}

#[test]
fn an_address_without_a_name_is_the_name() {
    let dsn = dsn("hostaddr=10.0.0.1 sslmode=require");
    assert_eq!(dsn.config.get_hosts(), [Host::Tcp("10.0.0.1".to_owned())]);
}

#[test]
fn sslmode_has_libpqs_meaning() {
    let file = || Roots::File("/ca.pem".into());
    let cases = [
        ("", SslMode::Prefer, Some(Verify::Nothing)),
        ("sslmode=disable", SslMode::Disable, None),
        ("sslmode=allow", SslMode::Prefer, Some(Verify::Nothing)),
        ("sslmode=prefer", SslMode::Prefer, Some(Verify::Nothing)),
        ("sslmode=require", SslMode::Require, Some(Verify::Nothing)),
        ("ssl=true", SslMode::Require, Some(Verify::Nothing)),
        ("ssl=false", SslMode::Prefer, Some(Verify::Nothing)),
        ("sslmode=require&sslrootcert=/ca.pem", SslMode::Require, Some(Verify::Chain(file()))),
        ("sslmode=verify-ca&sslrootcert=/ca.pem", SslMode::Require, Some(Verify::Chain(file()))),
        ("sslmode=verify-ca", SslMode::Require, Some(Verify::Chain(Roots::System))),
        ("sslmode=verify-full&sslrootcert=/ca.pem", SslMode::Require, Some(Verify::ChainAndName(file()))),
        ("sslmode=verify-full", SslMode::Require, Some(Verify::ChainAndName(Roots::System))),
        ("sslrootcert=system", SslMode::Require, Some(Verify::ChainAndName(Roots::System))),
    ];
    for (query, mode, verify) in cases {
        let dsn = dsn(&format!("postgres://h/d?{query}"));
        assert_eq!(dsn.config.get_ssl_mode(), mode, "{query}");
        assert_eq!(dsn.tls.map(|tls| tls.verify), verify, "{query}");
    }
    assert_eq!(verify("host=h sslmode=verify-full sslnegotiation=direct"), Verify::ChainAndName(Roots::System));
    assert_eq!(dsn("postgres://h/d?sslmode=verify-ca").warnings().len(), 1, "public CAs with verify-ca are a trap");
    // libpq ignores sslmode on Unix sockets.
    assert_eq!(dsn("host=/tmp sslmode=verify-full").tls, None);
}

#[test]
fn what_is_wrong_is_named() {
    let unsupported =
        |name| move |error: &DsnError| matches!(error, DsnError::Unsupported { name: n, .. } if *n == name);
    let invalid = |name| move |error: &DsnError| matches!(error, DsnError::Invalid { name: n, .. } if *n == name);
    type Check<'a> = &'a dyn Fn(&DsnError) -> bool;
    let cases: &[(&str, Check<'_>)] = &[
        ("", &|error| *error == DsnError::Empty),
        ("  \n", &|error| *error == DsnError::Empty),
        ("mysql://u:pw@h/d", &|error| *error == DsnError::Scheme("mysql".into())),
        ("jdbc:postgresql://h/d", &|error| *error == DsnError::Scheme("jdbc:postgresql".into())),
        ("postgresql+asyncpg://u:pw@h/d", &|error| *error == DsnError::Scheme("postgresql+asyncpg".into())),
        ("postgres://", &|error| *error == DsnError::MissingHost),
        ("postgres:///d", &|error| *error == DsnError::MissingHost),
        ("postgres://u:pw@/d", &|error| *error == DsnError::MissingHost),
        ("postgres://u:pw@h1,,h2/d", &|error| *error == DsnError::MissingHost),
        ("user=u dbname=d", &|error| *error == DsnError::MissingHost),
        ("localhost", &|error| matches!(error, DsnError::Syntax(_))),
        ("localhost:5432/d", &|error| matches!(error, DsnError::Syntax(_))),
        ("host=h password='open", &|error| matches!(error, DsnError::Syntax(_))),
        ("postgres://u:p%4@h/d", &|error| matches!(error, DsnError::Syntax(_))),
        ("postgres://u:p%ff@h/d", &|error| matches!(error, DsnError::Syntax(_))),
        ("postgres://[::1/d", &|error| matches!(error, DsnError::Syntax(_))),
        ("postgres://h/d?sslmode", &|error| matches!(error, DsnError::Syntax(_))),
        ("postgres://h:0/d", &invalid("port")),
        ("postgres://h:65536/d", &invalid("port")),
        ("postgres://h:x/d", &invalid("port")),
        ("postgres://h1:1,h2:2,h3:3/d?port=1,2", &invalid("port")),
        ("postgres://h/d?hostaddr=10.0.0.1,10.0.0.2", &invalid("hostaddr")),
        ("postgres://h/d?sslmode=on", &invalid("sslmode")),
        ("postgres://h/d?sslrootcert=system&sslmode=require", &invalid("sslmode")),
        ("postgres://h/d?sslnegotiation=direct", &invalid("sslmode")),
        ("postgres://h/d?sslmode=disable&channel_binding=require", &invalid("sslmode")),
        ("postgres://h/d?sslcert=c.pem", &invalid("sslkey")),
        ("postgres://h/d?sslkey=k.pem", &invalid("sslcert")),
        ("postgres://h/d?target_session_attrs=prefer-standby", &invalid("target_session_attrs")),
        ("postgres://h/d?connect_timeout=soon", &invalid("connect_timeout")),
        ("postgres://h/d?client_encoding=LATIN1", &invalid("client_encoding")),
        ("postgres://h/d?gssencmode=require", &invalid("gssencmode")),
        ("postgres://h/d?passfile=/x", &unsupported("passfile")),
        ("postgres://h/d?sslcrl=/x", &unsupported("sslcrl")),
        ("postgres://h/d?sslmod=require", &|error| *error == DsnError::Unknown("sslmod".into())),
        ("host=h Server=h", &|error| *error == DsnError::Unknown("Server".into())),
    ];
    for (text, check) in cases {
        let error = error(text);
        assert!(check(&error), "{text:?}: {error:?}");
    }
}

#[test]
fn the_password_never_shows() {
    let good = dsn("postgres://u:SECRET@h/d");
    assert!(!format!("{good:?} {good} {}", good.describe()).contains("SECRET"));

    // Each string has the password where a careless reader would quote it: as host, port, database, parameter or value.
    for text in [
        "postgres://u:SEC@RET@h/d",
        "postgres://u:SEC/RET@h/d",
        "postgres://u:5/SECRET@h/d",
        "postgres://u:SEC@RET?SECRET=SECRET@h/d",
        "postgres://u:SECRET%@h/d",
        "postgres://u:SECRET@h:port/d",
        "postgres://u:SECRET@h/d?unknown=SECRET",
        "postgres://h/d?password=SECRET&sslmode=SECRET",
        "mysql://u:SECRET@h/d",
        "u:SECRET://h",
        "host=h password=SEC RET",
        "host=h password='SECRET",
        "postgres:/u:SECRET@h/d",
    ] {
        let error = error(text);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("SEC") && !shown.contains("RET"), "{text}: {shown}");
    }
}
