"""`resil enable` and `disable`: a service or the whole machine runs with libresil, or nothing has changed."""

import os

from machine import Machine
from stage import BARE, RESIL, Stage, main

# Two connects to a port where nobody listens, and the errors: under the rules below the second is EHOSTDOWN.
ASK = """
ask() { "$@" perl -e 'for (1, 2) { socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, 9, 127, 0, 0, 1)); print $! + 0, " " }'; }
"""
REFUSED_TWICE, JUDGED = "111 111 ", "111 112 "
RULES = ("version: 1\nrules: [{name: tested, match: {port: 9}, "
         "breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: 1h, error: EHOSTDOWN}}]")
WRITE_RULES = f"mkdir -p /etc/resil; echo '{RULES}' >/etc/resil/rules.yaml\n"
LIST = "/etc/ld.so.preload"
UNIT = r"""
printf '[Unit]\nDescription=An old daemon\n[Service]\nExecStart=/usr/bin/perl /opt/old\n' >/etc/systemd/system/old.service
drop_in=/etc/systemd/system/old.service.d/50-libresil.conf
"""


class System(Machine):
    def test_every_program_gets_the_rules_until_it_is_disabled(self):
        ended = self.on_machine(ASK + WRITE_RULES + """
ask; resil enable --system >&2 || exit 1
ask; ask setpriv --reuid 65534 --clear-groups; resil disable --system >&2 || exit 2
ask; ls /etc/ld.so.preload* 2>/dev/null; exit 0
""")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out, REFUSED_TWICE + JUDGED + JUDGED + REFUSED_TWICE, ended)

    def test_what_else_stands_in_the_list_stays_as_it_is(self):
        before = "# a comment, with libresil.so in it\n/usr/lib/none.so:/opt/other.so  /opt/third.so # why\n\n"
        ended = self.on_machine(f"""
printf '%s' "$1" >{LIST}; resil enable --system >/dev/null 2>&1 || exit 1
head -n 1 {LIST} >&2; tail -n +2 {LIST} | cmp - <(printf '%s' "$1") || exit 2
resil enable --system >/dev/null 2>&1 || exit 3
[ "$(grep -c ^/usr/local/ {LIST})" = 1 ] || exit 4
resil disable --system 2>/dev/null || exit 5
cmp {LIST} <(printf '%s' "$1") || exit 6
printf '/opt/a.so:/x/libresil.so /opt/b.so\\n/y/libresil.so\\n' >{LIST}; resil disable --system 2>/dev/null
cat {LIST}; ls /etc | grep preload
""", before)
        self.assertIn("/usr/local/$LIB/libresil.so", ended.err, ended)
        self.assertTrue(ended.out.endswith("/opt/a.so:/opt/b.so\nld.so.preload\n"), ended)

    def test_nothing_is_changed_where_a_program_does_anything_else(self):
        for odd, said in (('[ ! -e /etc/ld.so.preload ] || echo odd', "/usr/bin/python3 -c print('well') says with libresil: odd"),
                          ('[ ! -e /etc/ld.so.preload ]', "/usr/bin/python3 -c print('well') ends with status 1, and without libresil "
                                                          "with 0")):
            ended = self.on_machine(f"""
printf '#!/bin/sh\\n%s\\n' "$1" >odd; chmod 755 odd; mount --bind odd "$(realpath /usr/bin/python3)"
resil enable --system; status=$?; ls {LIST} 2>/dev/null; exit $status
""", odd)
            self.assertEqual((ended.status, ended.out), (1, ""), ended)
            self.assertIn(said, ended.err)

    def test_a_list_that_somebody_else_changes_meanwhile_is_left_alone(self):
        ended = self.on_machine(f"""
printf '#!/bin/sh\\n{{ echo "# changed" >>{LIST}; }} 2>/dev/null; exit 0\\n' >odd; chmod 755 odd; mount --bind odd "$(realpath /usr/bin/python3)"
resil enable --system >&2; status=$?; cat {LIST}; exit $status
""")
        self.assertEqual((ended.status, ended.out), (1, "# changed\n"), ended)
        self.assertIn("meanwhile", ended.err)

    def test_it_is_refused_where_others_could_have_a_say_in_it(self):
        library = "/usr/local/lib/*/libresil.so"
        for change, said in ((f"chown 1000 {library}", "belongs to user 1000"),
                             (f"chmod o+w {library}", "can be written by everybody"),
                             ("ln -s /etc/other.preload /etc/ld.so.preload; echo >/etc/other.preload",
                              "/etc/ld.so.preload is a symbolic link"),
                             ("chmod 1777 /usr/local", "/usr/local can be written by everybody"),
                             ("chgrp 50 /usr/local/lib; chmod g+w /usr/local/lib", "can be written by group 50"),
                             (f"mkdir /tmp/$$; cp {library} /tmp/$$; export RESIL_LIBRARY=/tmp/$$/libresil.so; trap 'rm -r /tmp/$$' EXIT",
                              "/tmp can be written by everybody")):
            ended = self.on_machine(f"{change}; resil enable --system; status=$?; grep resil {LIST} 2>/dev/null; exit $status")
            self.assertEqual((ended.status, ended.out), (1, ""), ended)
            self.assertIn(said, ended.err)

    def test_a_library_that_does_not_work_is_refused(self):
        ended = self.on_machine(f"""
mkdir /usr/local/other; cp /lib/*/libm.so.6 /usr/local/other/libresil.so
RESIL_LIBRARY=/usr/local/other/libresil.so resil enable --system; status=$?; ls {LIST} 2>/dev/null; exit $status
""")
        self.assertEqual((ended.status, ended.out), (1, ""), ended)
        self.assertIn("libresil is not loaded here", ended.err)

    def test_a_setuid_resil_changes_nothing(self):
        ended = self.on_machine(f"""
chmod 4755 /usr/local/bin/resil
setpriv --reuid 65534 --regid 65534 --clear-groups resil enable --system; status=$?; ls {LIST} 2>/dev/null; exit $status
""")
        self.assertEqual((ended.status, ended.out), (1, ""), ended)
        self.assertIn("setuid", ended.err)


class Unit(Machine):
    def test_a_service_gets_the_rules_until_it_is_disabled(self):
        ended = self.on_machine(ASK + WRITE_RULES + UNIT + """
cp /etc/resil/rules.yaml /etc/old.yaml; rm -r /etc/resil
service() { ask env -i $(sed -n 's/^Environment=//p' "$drop_in" 2>/dev/null); }
service; resil enable --unit old --rules /etc/old.yaml --log off >&2 || exit 1
service; systemd-analyze --man=no verify /etc/systemd/system/old.service >&2 || exit 2
cat "$drop_in" >&2; resil disable --unit old.service >&2 || exit 3
service; [ ! -e "${drop_in%/*}" ] || exit 4
""")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out, REFUSED_TWICE + JUDGED + REFUSED_TWICE, ended)
        self.assertIn("Environment=LD_PRELOAD=/usr/local/$LIB/libresil.so RESIL_EARLY=1 RESIL_LOG=off RESIL_RULES=/etc/old.yaml\n",
                      ended.err)
        self.assertIn("systemctl daemon-reload && systemctl restart old.service", ended.err)
        self.assertNotIn(".conf:", ended.err.split("To take it back")[1].split("# Made")[0], "systemd-analyze has something to say")

    def test_instances_and_other_drop_ins_are_known(self):
        ended = self.on_machine(r"""
printf '[Service]\nExecStart=/bin/sleep %%i\n' >/etc/systemd/system/many@.service
resil enable --unit many@3 >&2 || exit 1
ls /etc/systemd/system/many@3.service.d; touch /etc/systemd/system/many@3.service.d/mine.conf
resil disable --unit many@3 >&2 || exit 2
ls /etc/systemd/system/many@3.service.d
""")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out, "50-libresil.conf\nmine.conf\n", ended)

    def test_it_is_refused_where_the_service_would_not_do_as_asked(self):
        for change, arguments, status, said in (
                ("echo 'Environment=\"LD_PRELOAD=/opt/a.so\"' >>/etc/systemd/system/old.service", "old", 1, "old.service:5 sets LD_PRELOAD"),
                ("mkdir -p /run/systemd/system/old.service.d; printf '[Service]\\nEnvironment=A=1 LD_PRELOAD=x\\n' "
                 ">/run/systemd/system/old.service.d/a.conf", "old", 1,
                 "a.conf:2 sets LD_PRELOAD"),
                ("", "nothing", 1, "there is no service nothing.service"),
                ("", "../../old", 2, "is no name of a service"),
                ("", "old.timer", 2, "is no name of a service"),
                ("echo 'version: 2' >/etc/bad.yaml", "old --rules /etc/bad.yaml", 78, "/etc/bad.yaml:1:10: error:"),
                ("echo 'version: 2' >/etc/bad.yaml; mkdir /etc/resil; cp /etc/bad.yaml /etc/resil/rules.yaml", "old", 78, "rules.yaml:1:10:"),
                ("echo 'version: 1' >/etc/their.yaml; chown 1000 /etc/their.yaml", "old --rules /etc/their.yaml", 78, "their.yaml"),
                ("echo 'version: 1' >'/etc/a b.yaml'", "old --rules '/etc/a b.yaml'", 2, "no path that can stand in a unit")):
            ended = self.on_machine(f"{UNIT}\n{change}\nresil enable --unit {arguments}; status=$?; ls -d $drop_in; exit $status")
            self.assertEqual((ended.status, ended.out), (status, ""), ended)
            self.assertIn(said, ended.err)

    def test_what_systemd_complains_of_is_taken_back(self):
        ended = self.on_machine(UNIT + """
printf '#!/bin/sh\\necho "%s:2: Unknown key" >&2\\n' "$drop_in" >/usr/local/bin/systemd-analyze; chmod 755 /usr/local/bin/systemd-analyze
resil enable --unit old; status=$?; ls -d "${drop_in%/*}"; exit $status
""")
        self.assertEqual((ended.status, ended.out), (1, ""), ended)
        self.assertIn("taken back, because systemd says", ended.err)

    def test_a_program_that_cannot_be_helped_is_told_of(self):
        ended = self.on_machine(UNIT + """
printf 'int main(void) { return 0; }' | gcc -static -x c -o /usr/local/bin/static - || exit 9
sed -i 's,^ExecStart=.*,ExecStart=-/usr/local/bin/static --daemon,' /etc/systemd/system/old.service
resil enable --unit old
""")
        self.assertTrue(ended.is_good, ended)
        self.assertIn("note: /usr/local/bin/static is a static executable", ended.err)

    def test_disable_all_takes_everything_back(self):
        ended = self.on_machine(UNIT + f"""
resil enable --unit old >/dev/null && resil enable --system >/dev/null || exit 1
resil disable --all || exit 2
find /etc/systemd/system /etc -maxdepth 1 -name 'old.service.d' -o -maxdepth 1 -name 'ld.so.preload*' >&2
resil disable --all; resil disable --system; [ $? = 1 ] || exit 3; resil disable --unit old; [ $? = 1 ] || exit 4
""")
        self.assertTrue(ended.is_good, ended)
        self.assertEqual(ended.out, "Programs that start from now on run without libresil.\n"
                                    "/etc/systemd/system/old.service.d/50-libresil.conf is gone.\n", ended)


class Everybody(Stage):
    def test_only_root_may_and_only_one_thing_at_a_time(self):
        as_nobody = ["setpriv", "--reuid", "65534"] if os.geteuid() == 0 else []
        for command in ("enable", "--system"), ("enable", "--unit", "x"), ("disable", "--all"):
            ended = self.run_program([*as_nobody, RESIL, *command], how=BARE)
            self.assertEqual(ended.status, 1, ended)
            self.assertIn("only root", ended.err)
        for command in (["enable"], ["enable", "--system", "--unit", "x"], ["disable"], ["enable", "--system", "--rules", "x"],
                        ["enable", "--system", "--log", "off"], ["enable", "--unit", "x", "--log", "1"], ["disable", "--all", "--system"]):
            ended = self.run_program([RESIL, *command], how=BARE)
            self.assertEqual(ended.status, 2, ended)
            self.assertIn("--help", ended.err)
            self.assertEqual("--all" in ended.err.split("\n")[0], command[0] == "disable", ended)


if __name__ == "__main__":
    main()
