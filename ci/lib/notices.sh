# Sourced by `ci/package notices`: the licenses of the crates that are linked into the library for the server of
# PG_CONFIG, whose copies have to carry them. Each text stands once, after the crates that have it. A crate whose archive
# has no text is named with its authors.
# shellcheck shell=bash

find_postgres
features=(--no-default-features --features "pg$pg_major")
{
    # Not what only builds.
    cargo tree --locked -e normal,no-proc-macro --prefix none --format '{p}' "${features[@]}"
    echo
    cargo metadata --locked --format-version 1 "${features[@]}"
} | perl -MJSON::PP -MFile::Basename -e '
    use strict;
    use warnings;
    my (%linked, %crates_of, @without);
    while (<STDIN>) {
        last if /^$/;
        $linked{"$1 $2"} = 1 if /^(\S+) v(\S+)/;
    }
    my $metadata = JSON::PP->new->utf8->decode(join "", <STDIN>);
    for my $crate (sort { "$a->{name} $a->{version}" cmp "$b->{name} $b->{version}" } @{ $metadata->{packages} }) {
        my $name = "$crate->{name} $crate->{version}";
        # Without a source it is of this project.
        next unless $linked{$name} && $crate->{source};
        my @texts;
        for my $file (sort glob(quotemeta(dirname $crate->{manifest_path}) . "/*")) {
            next unless -f $file && basename($file) =~ /^(licen[cs]e|copying|copyright|notice|unlicense)/i;
            open my $in, "<", $file or die "$file: $!\n";
            my $text = join "", <$in>;
            $text =~ s/\r//g;
            $text =~ s/\A\s*\n|\s+\z//g;
            push @texts, $text;
        }
        push @{ $crates_of{$_} }, $name for @texts;
        push @without, "$name, $crate->{license}, by " . (join(", ", @{ $crate->{authors} }) || "its authors") unless @texts;
    }
    %crates_of or die "no license was found\n";
    print "The library of pg_background has these parts of others in it, under their licenses.\n";
    for my $text (sort { $crates_of{$a}[0] cmp $crates_of{$b}[0] || $a cmp $b } keys %crates_of) {
        print "\n", "-" x 80, "\n", join(", ", @{ $crates_of{$text} }), ":\n\n$text\n";
    }
    print "\n", "-" x 80, "\nTheir archives have no text of the license:\n\n", map { "$_\n" } @without if @without;
'
