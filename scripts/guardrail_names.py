"""Sentences with names, addresses and places marked, to train the tagger on.

Real sentences are few, so each of a generated or permissively licensed template is filled many times
with names of many languages. Lists of names are Faker's (MIT).
"""

import collections
import json
import pathlib
import random
import re

import jieba
from faker import Faker

from guardrail_sources import part_of, read_set

LATIN = [
    "en_US", "en_US", "en_US", "en_GB", "en_IN", "en_NG", "de_DE", "fr_FR", "es_ES", "es_MX",
    "it_IT", "nl_NL", "pl_PL", "cs_CZ", "sv_SE", "da_DK", "no_NO", "fi_FI", "pt_BR", "tr_TR",
    "ro_RO", "hr_HR", "hu_HU", "sl_SI", "lt_LT", "sk_SK", "id_ID", "fil_PH", "vi_VN",
]
STREETS = """Street St Avenue Ave Road Rd Lane Ln Drive Dr Court Ct Boulevard Blvd Place Pl Way
Terrace Square Sq Circle Highway Hwy Parkway Crescent Close Apt Apartment Suite Ste Unit Floor Flat
Room Building Bldg Box PSC APO FPO DPO Unit Rue Via Calle Straße Strasse Weg Platz Avenida Rua ulica
ul Gata gatan vej veien katu Passage Mews Alley Plaza Walk Row Gardens Grove Hill Park Creek Ridge
街 路 巷 弄 号 室 楼 幢 栋 座 单元 村 镇 乡 县 区 市 省 道 里 胡同 小区 大厦 花园""".split()
SALUTATIONS = ["Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "Mr", "Mrs", "Ms", "Miss", "Sir", "Dr"]

# {n} a full name, {f} a given name, {l} a family name, {a} an address, {p} a place, {o} a company,
# {d} a number, {e} an e-mail address, {w} a day or month.
ENGLISH = """
My name is {n}.|I'm {n}, nice to meet you|Hi, this is {n} calling about my order.|Dear {s} {l},
Dear {f},|Hello {f}, how are you today?|Regards,\n{n}|Best wishes,\n{f}|Sincerely yours,\n\n{n}\n{o}
{n} lives at {a}.|I live at {a}|Please ship it to {a}.|Send the parcel to {n}, {a}.
Address: {a}|Name: {n}\nAddress: {a}\nPhone: {d}|Billing address: {a}, card ending in {d}
We moved from {p} to {p} last {w}.|I am travelling to {p} next week.|She was born in {p} in {d}.
{n} works for {o} in {p}.|{n} (born {d}) is a singer from {p}.|The contract was signed by {n} and {n}.
Please call {f} {l} at {d}.|{s} {l} will see you on {w}.|Ask {f} about it|{f} said that {f} was late.
Where is {p}?|What's the weather in {p} today?|How far is it from {p} to {p}?|Flights from {p} to {p}
Patient {n}, aged {d}, was admitted on {w}.|The defendant, {n}, denied everything.
{n}: hello\n{n}: hi there|From: {n} <{e}>\nTo: {n} <{e}>|cc: {n}; {n}|Meeting with {n} and {f} at {d}
My boss {n} asked me to write this.|my name is {n} and I need help|who is {n}?|contact {n} at {e}
Write a letter to {s} {n} at {o}.|The house at {a} is for sale.|Deliver to: {a}
My new address is {a}.|My previous address was {a}|our office is at {a}, come by|mail it to {a} please
I grew up in {p}, but now I live in {p}.|{p} is the capital of {p}.|He flew to {p} with {n}.
{n}'s account number is {d}.|{f}'s phone is {d}|This is {f}'s book.|Is {f} coming to the party in {p}?
Employee: {n}, department: sales, city: {p}|{l}, {f}|{n}, {d}, {e}|Name\tCity\n{n}\t{p}\n{n}\t{p}
The film stars {n} and {n} as two friends.|A song by {n}, later covered by {n}.|{n} - {o} - {p}
According to {n} of {o}, sales fell in {p}.|Professor {l} teaches in {p}.|{f} and {f} got married.
I spoke with {n} yesterday about the invoice.|Thanks, {f}!|thx {f}|Hey {f}|{f}?|It was {n} who called.
President {n} visited {p} on {w}.|Judge {l} ruled for {o}.|Coach {l} praised {f} {l} after the game.
The card is in the name of {n}.|Account holder: {n}|Emergency contact: {n} ({d})|Passenger: {n}
Could you update my address to {a}?|I used to live at {a} until {w}.|The accident happened near {a}.
Return address:\n{n}\n{a}|{n}\n{a}|{o}\n{a}|Invoice to: {o}, {a}|visit us at {a} in {w}
The package for {n} was left at {a}.|Ship to {f} {l}, {a}, phone {d}|You can find me at {a}
The statement should go to {a}|change my zip code to {d}|I want to open an account in {p}.
{n} wrote the play in {w}.|In {w}, {n} became the head of {o}.|{o} was founded by {n} in {p}.
People call me {f}|Sometimes they call me {n}|sing it with me, {f}|It's {f} here|I am {n} from {o}.
""".strip()
ENGLISH_PLAIN = """
Thank you for your order.|Order {d} has shipped.|The meeting is on {w} at {d}.|{o} reported a loss.
Dear Customer,|Dear Sir or Madam,|Best regards,|Kind Regards|To Whom It May Concern
I bought an iPhone from {o} last {w}.|What is the limit on my card {d}?|Please close my account.
The May report is late.|Will you mark this page?|Grant me access to the report.|Rose and lily flowers
Python is a language. Java is another.|Explain the Pythagorean Theorem.|What does API mean?
Compose a limerick about hydrogen.|Construct a sentence with these words: happy, sandwich, lunch
Classify the following: bat, coral reef, whale|Sort the list: Banana, Grape, Apple, Orange, Kiwi
Categorize these words: Happiness, Energy, Rainbow|Pigeon, Duck, Swallow, Eagle, Hawk, Owl
Write an editorial about bike lanes.|Explain karma to a child.|Come up with questions about Mars.
Translate this into German: "Good morning"|Remind me to call mom.|Call your dad and grandma.|El Nino is back
Describe the Mona Lisa.|What do Gen Z and Millennials want?|Explain Moore's Law and Ohm's Law.
Summarize what Kaggle is|Compare Chelsea and Arsenal.|Google, Amazon, Microsoft, Apple, Tesla, Netflix, Spotify
The Doctoral Program|Convert "apple" to uppercase|Rank by population: {p}, {p}, {p}|Edit, Rewrite, Generate, Design
The hero is a wizard, the villain a knight.|A famous prima ballerina danced.|The Coronavirus pandemic
The Great Gatsby is a novel.|Summarize Hamlet in one line.|Monday, Tuesday and Wednesday
Press Enter to continue.|Error {d}: File Not Found|See Table {d} and Figure {d}.|Chapter {d}
How do I cook rice?|Write a poem about the sea.|Which Linux distribution is best?|Chase the dog.
Can you Help Me with My Homework|Why Is The Sky Blue?|WHAT IS THE CAPITAL GAINS TAX|Buy Now!
""".strip()
# As newspapers and reports of meetings write; {o} is a company.
CHINESE_NEWS = """
新华社{p}{d}月{d}日电（记者{n}）|新华社{p}{d}月{d}日电（记者{n}、{n}）|据新华社{p}电 （记者{n} 通讯员{n}）
本报{p}{d}月{d}日讯 记者{n}报道：|本报记者 {n}|（新华社记者{n}摄）|{n}摄（新华社发）|图／{n} 文／{n}|（{n} {n}）
国务院总理{n}今天会见了{p}总统{n}一行。|国家主席{n}在{p}会见了{p}首相{n}。|外交部发言人{n}在记者会上说，
{n}说，中国愿意同{p}发展友好关系。|{n}强调，要深化改革。|{n}指出，这一问题必须解决。|{n}介绍说，今年产量增长了{d}%。
{p}省委书记{n}、省长{n}出席了会议。|出席座谈会的有{n}、{n}、{n}、{n}等同志。|参加会见的还有{n}、{n}和{n}。
中共中央政治局委员{n}主持会议，{n}作了报告。|副总理{n}{d}日上午在{p}考察。|{p}外长{n}抵达{p}访问。
（按姓氏笔画为序）{n}{n}{n}{n}{n}{n}{n}|{n} {n} {n}（女） {n} {n}（回族） {n}|{n}（女）{n}{n}（满族）{n}{n}{n}
代表名单：{n}、{n}（女）、{n}（蒙古族）、{n}|主任委员：{n}　副主任委员：{n}、{n}、{n}|任命{n}为{p}市市长，免去{n}的职务。
《{n}传》近日出版。|《{n}文集》首发式在{p}举行。|读《{n}选集》有感|{n}新作《春天》由{o}出版。|{n}的画展在{p}开幕。
{p}队的{n}以{d}比{d}战胜{p}选手{n}，获得冠军。|女子单打决赛：{n}胜{n}|教练{n}说，{n}状态不错。|主力前锋{n}受伤
{p}总统{n}宣布辞职。|前总统{n}的遗孀{n}去世。|{p}反对党领袖{n}批评了{n}政府的政策。|联合国秘书长{n}呼吁停火。
{p}国防部长{n}上将、空军司令{n}中将|美国国务卿{n}与{p}外长{n}举行了会谈。|法国作家{n}的小说|作曲家{n}的第{d}交响曲
村民{n}告诉记者，去年收入{d}元。|厂长{n}带领工人们奋战。|战士{n}跳进水里救起了孩子。|老人{n}今年{d}岁。
科学家{n}和{n}共同获得了奖项。|院士{n}认为，{n}的理论是正确的。|医生{n}为{n}做了手术。|下岗女工{n}开了一家小店。
{l}老笑着说，这没什么。|老{l}是个热心人。|小{l}昨天来过。|{l}总还在开会。|{l}主席步入会场。|{l}教授的学生{n}也来了。
毛主席和{n}在延安|周总理接见了{n}同志|唐代诗人{n}写道：|清朝末年，{n}在{p}起义。|三国时，{n}大败{n}于{p}。
{n}、{n}编剧，{n}导演，{n}主演。|电影《{p}往事》由{n}执导，{n}、{n}领衔主演。|{n}饰演{n}|歌唱家{n}演唱了这首歌。
{n}：这件事你怎么看？{n}：我同意。|“{n}，你来一下！”|“我是{n}。”他说。|{n}笑了笑，没有说话。|{n}和妻子{n}都是教师。
""".strip()
# What newspapers write without anybody's name.
CHINESE_NEWS_PLAIN = """
向大家致以节日的祝贺。|会议对此表示热烈的祝贺。|{p}共和国的经济正在恢复。|常备不懈，居安思危。|子夜时分，我们在{p}。
月有阴晴圆缺，此事古难全。|人民日报社论|亚太经合组织会议在{p}举行。|实现社会长治久安。|孤儿们吃上了热饭。
山上的牛羊在吃草，黄昏的彩虹很美。|与{p}、{p}、{p}建立了合作关系。|{o}生产的汽车出口{p}。|来自{p}北部的村庄
顾客：你好，我想要一份三明治。|金合欢树和桉树|用便利贴和马克笔|龙卷风袭击了城镇|请求使用您的软件的许可。|黎明和天空
比非常重要更重要|列出四张专辑|高兴地说|方便面和白米饭|江水上涨，万家灯火|金牌得主|石头和沙子|马上开始|温度很高|许多人
""".strip()
CHINESE = """
我叫{n}，今年{d}岁。|你好，我是{n}。|联系人：{n}，电话：{d}|姓名：{n}\n地址：{a}\n手机：{d}|收件人{n}
请把包裹寄到{a}，收件人{n}。|{n}住在{a}。|家庭住址：{a}|我家在{a}，欢迎来玩|{a}，{n}收
{l}先生您好，您的订单已发货。|{l}女士来电咨询退款事宜。|{l}老师明天上课吗？|请找{l}经理签字。
患者{n}，男，{d}岁，因发热入院。|被告人{n}于{d}年在{p}被捕。|原告{n}诉{n}合同纠纷一案
据{p}日报报道，{n}表示将继续努力。|{n}和{n}是同学。|{n}、{n}、{n}三人参加了会议。|{n}说：“好的。”
今天{n}去了{p}。|从{p}到{p}怎么走？|{p}的天气怎么样？|我在{p}工作，老家在{p}。|{p}市长{n}出席活动
本报记者{n}{p}报道|（记者{n}）|作者：{n}|主演：{n}、{n}|导演{n}的新片上映|{n}教授的论文|歌手{n}发布新歌
法定代表人：{n}|开户名：{n}，账号{d}|户名{n}|持卡人{n}|投保人：{n}，被保险人：{n}|紧急联系人{n} {d}
帮我写一封信给{n}，感谢他的帮助。|{n}昨天没来上班|我同事{n}的邮箱是{e}|请问{n}在吗？|叫{n}过来一下
{n},{d},{e}|{n} {d} {a}|序号,姓名,城市\n1,{n},{p}\n2,{n},{p}|{n}（{d}年出生），{p}人，作家。
{n}{n}{n}{n}{n}{n}{n}{n}|{n}{n}{n}（女）{n}{n}{n}（回族）{n}|{n} {n} {n} {n} {n}|代表：{n}{n}{n}{n}{n}{n}{n}{n}{n}{n}
主席团成员{n}{n}（藏族）{n}{n}{n}{n}（女，满族）{n}|出席的有{n}、{n}、{n}、{n}等。|名单：{n}{n}{n}{n}{n}|我们纪念{n}同志
（１）{n}（２）{n}（３）{n}|{n}高声说，大家快来。|{n}主席、{n}总理会见了{p}客人|欢送{l}主席一行|{l}总说得对
我的地址是{a}。|收货地址改成{a}|快递放在{a}门口|公司位于{a}，电话{d}|寄件地址：{a}|现住{a}
经理{n}同意了申请。|班长{n}|{n}同志任书记，{n}任副书记。|由{n}主持会议，{n}作报告|妈妈{n}带着孩子来了
我老公{n}的身份证号是{d}|申请人：{n}  性别：女|学生{n}考了{d}分|{n}医生值班|客户{n}投诉
{n}出生于{p}。|{n}毕业于{p}大学|{n}担任{p}省长|感谢{n}的支持|祝{n}生日快乐|{n}与{n}签订合同
""".strip()
CHINESE_PLAIN = """
请问怎么退款？|我的订单{d}还没发货。|今天天气很好，我们去公园吧。|这个产品的价格是{d}元。|明天下午开会
如何学习编程？|写一首关于春天的诗。|高兴的时候要多笑。|金融市场波动很大|白云飘在天上|马上就要下班了
请解释一下量子力学。|黄色的花很漂亮|周末一起吃饭吧|方便的话请回电|任何人都可以参加|时间过得真快
""".strip()
HAN_FAMILY = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林郑罗梁谢宋唐许邓韩冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任"
    "卢姚沈钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔"
    "向常汤康易乔赖文施洪季辛柯庄温牛樊葛殷翟倪柳邢路岳齐梅庞凌包左吉霍纪管卜祝童欧关耿牟涂游焦单甄裴"
)
# The rest of the Hundred Family Surnames, and other family names that are met.
HAN_RARE = (
    "尤水窦章云奚昌凤花俞酆鲍费岑滕毕乐时傅皮卞伍元平和穆萧湛禹狄米贝明臧计伏成谈茅舒屈项闵席麻强娄危颜盛"
    "刁锺骆虞支昝经裘缪干解应宗宣贲郁诸钮嵇滑荣翁荀羊於惠曲封芮羿储靳汲邴糜井巫乌巴弓牧隗山谷车宓蓬全郗班"
    "仰秋仲伊宫宁仇栾暴甘斜厉戎祖符景詹束幸司韶郜蓟薄印宿怀蒲邰从鄂索籍卓蔺屠蒙池阴胥能苍双闻莘贡劳逄姬申"
    "扶堵冉宰郦雍璩桑濮寿通边扈燕冀郏浦尚农别晏柴瞿阎充慕连茹习宦艾鱼容古慎戈终暨居衡步都满弘匡国寇广禄阙"
    "东殳沃利蔚越夔隆师巩厍聂晁勾敖融冷訾阚那简饶空沙乜养鞠须丰巢蒯相查后荆红竺权逯盖益桓公仝佟佘佴伯折苑"
    "初修原信恽逢阮回由刀帅敬亓"
)
HAN_COMPOUND = ["欧阳", "司马", "上官", "诸葛", "司徒", "东方", "夏侯", "皇甫", "尉迟", "慕容", "令狐"]
HAN_NOTES = ["（女）", "（满族）", "（回族）", "（藏族）", "（蒙古族）", "（维吾尔族）", "（女，壮族）", "（彝族）", "（朝鲜族）"]
HAN_GIVEN = (
    "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂辉玲建国华志文红玉春梅鑫宇浩然子轩梓涵欣怡诗雨"
    "佳琪思远俊豪嘉怡晨阳博文雅婷晓东海波小龙晓燕振宇立新永强国庆建军淑珍凤英桂兰秀兰玉兰丽华丽娟雪梅"
    "婷婷倩莹蕾薇琳琴云莲真环荣爱妹香月莺媛瑞凡佩如凌悦天昊泽洋睿一诺沐宸奕辰可馨若曦雨萱语嫣依诺慧"
    "帆彬斌鹏飞亮健峰林森松柏康宁安泰祥福禄寿喜庆德仁义礼智信忠孝廉光耀宗祖民生胜利学武兵龙虎成功业"
)


def dictionary():
    """jieba's words (MIT): text, count, part of speech."""
    with open(pathlib.Path(jieba.__file__).parent / "dict.txt", encoding="utf-8") as lines:
        return [(word, int(count), kind) for word, count, kind in map(str.split, lines)]


PEOPLE = [word for word, _, kind in dictionary()
          if kind == "nr" and word[0] in HAN_FAMILY and len(word) in (2, 3)]
# Names of other languages by their sounds, and the characters that write most of them.
FOREIGN_HAN = [word for word, _, kind in dictionary() if kind == "nrt" and 2 <= len(word) <= 5]
FOREIGN_HAN += "史密斯 约翰逊 玛丽 汤姆 杰克 彼得 伊丽莎白 克林顿 布什".split()
SYLLABLES_HAN = (
    "阿埃艾安奥巴班贝本比彼宾波博伯布查达戴丹道德登迪蒂杜顿多厄恩尔法费菲芬弗福富盖冈戈格根古哈海汉赫"
    "亨霍胡吉加贾杰金卡凯坎考科克肯库奎拉莱兰劳勒雷里利林卢鲁路伦罗洛马迈曼梅蒙米明莫姆穆纳内尼娜诺努"
    "帕佩皮蓬普奇乔切日萨塞森沙舍史斯松苏索塔泰坦特廷图托瓦万威维温沃乌西希夏肖谢辛雅亚延伊因尤扎泽詹朱兹"
)


class Names:
    """Draws names and addresses; the same seed draws the same."""

    def __init__(self, seed):
        Faker.seed(seed)
        self.random = random.Random(seed)
        self.fakers = [Faker(locale) for locale in LATIN]
        self.chinese = Faker("zh_CN")

    def latin(self, pattern):
        draw, fake = self.random, self.random.choice(self.fakers)
        given, family = fake.first_name(), fake.last_name()
        if pattern == "f":
            return self.recase(given)
        if pattern == "l":
            return self.recase(family)
        form = draw.random()
        if form < 0.7:
            name = f"{given} {family}"
        elif form < 0.78:
            name = f"{given} {draw.choice('ABCDEFGHJKLMNPRSTW')}. {family}"
        elif form < 0.83:
            name = f"{given} {draw.choice('ABCDEFGHJKLMNPRSTW')} {family}"
        elif form < 0.88:
            name = f"{given} {family}-{fake.last_name()}"
        elif form < 0.93:
            name = f"{given} {fake.first_name()} {family}"
        else:
            name = given
        return self.recase(name)

    def recase(self, text):
        chance = self.random.random()
        return text.lower() if chance < 0.08 else text.upper() if chance < 0.14 else text

    def address(self):
        draw, fake = self.random, self.random.choice(self.fakers)
        form = draw.random()
        if form < 0.35:
            address = fake.address()
        elif form < 0.45:
            address = self.fakers[0].address()
        elif form < 0.52:
            address = f"PSC {draw.randrange(1000, 9999)}, Box {draw.randrange(100, 9999)}\nAPO AA {draw.randrange(10000, 99999)}"
        elif form < 0.6:
            address = f"Unit {draw.randrange(100, 9999)} Box {draw.randrange(100, 9999)}\nDPO AE {draw.randrange(10000, 99999)}"
        else:
            number, street = draw.randrange(1, 9999), self.street(fake)
            unit = draw.choice(["", "", f" Apt. {draw.randrange(1, 999)}", f"\n Suite {draw.randrange(1, 999)}",
                                f", Suite {draw.randrange(1, 999)}", f" Unit {draw.randrange(1, 99)}"])
            city = self.recase(fake.city())
            tail = draw.choice(["", f" {fake.postcode()}", f" {self.country()} {fake.postcode()}",
                                f", {self.country()}", f"\n {self.country()} {draw.randrange(1000, 99999)}"])
            joint = draw.choice([", ", " ", "\n ", "\n"])
            address = f"{number} {street}{unit}{joint}{city}{tail}"
            if draw.random() < 0.2:
                address = f"{number} {street}"
        if draw.random() < 0.4:
            address = address.replace("\n", draw.choice([", ", " "]))
        return address.lower() if draw.random() < 0.06 else address

    def street(self, fake):
        draw = self.random
        if draw.random() < 0.5:
            return re.sub(r"^\d+[a-z]?\s+", "", fake.street_address().split("\n")[0])
        word = draw.choice([fake.last_name(), fake.first_name(), fake.city()])
        return f"{word} {draw.choice(STREETS[:24])}"

    def country(self):
        return self.fakers[0].country()

    def place(self):
        draw, fake = self.random, self.random.choice(self.fakers)
        place = draw.choice([fake.city(), fake.city(), self.country(), self.fakers[0].state()])
        return self.recase(place)

    def han(self, pattern):
        draw = self.random
        family = draw.choice(HAN_COMPOUND) if draw.random() < 0.04 else (
            draw.choice(HAN_FAMILY[:100]) if draw.random() < 0.75 else
            draw.choice(HAN_FAMILY if draw.random() < 0.6 else HAN_RARE))
        if pattern == "l":
            return family
        if draw.random() < 0.16:
            return self.foreign_han()
        if draw.random() < 0.5:
            return draw.choice(PEOPLE)
        return family + "".join(draw.choice(HAN_GIVEN) for _ in range(draw.choice([1, 2, 2, 2])))

    def foreign_han(self):
        draw = self.random
        parts = []
        for _ in range(draw.choice([1, 1, 1, 2, 2])):
            made = "".join(draw.choice(SYLLABLES_HAN) for _ in range(draw.choice([2, 3, 3, 4, 5])))
            parts.append(draw.choice(FOREIGN_HAN) if draw.random() < 0.6 else made)
        return "·".join(parts)

    def roll(self):
        """Many names in a row, as newspapers print them: with notes beside a few, and mostly nothing between."""
        draw = self.random
        between = draw.choice(["", "", "", "、", " ", "　"])
        text, spans = draw.choice(["", "（按姓氏笔划排列）", "名单如下：", "他们是：", "委员", "代表："]), []
        for _ in range(draw.randrange(6, 40)):
            name = self.han("n")
            spans.append(["NAME", len(text), len(text) + len(name)])
            note = draw.choice(HAN_NOTES) if draw.random() < 0.15 else ""
            text += name + note + between
        return text, spans

    def han_address(self):
        draw, fake = self.random, self.chinese
        street = f"{fake.last_name()}{draw.choice(HAN_GIVEN)}{draw.choice(['路', '街', '大道', '巷', '东路', '北街'])}"
        city = draw.choice([fake.city(), fake.city_name() + "市", fake.province() + fake.city_name() + "市"])
        district = fake.district() + draw.choice(["区", "县", ""])
        house = draw.choice([
            f"{draw.randrange(1, 999)}号", f"{draw.randrange(1, 400)}号{draw.randrange(1, 30)}号楼{draw.randrange(1, 6)}单元{draw.randrange(101, 2500)}室",
            f"{draw.choice('ABCDEFGabcdefg')}座{draw.randrange(101, 2500)}室", f"{draw.randrange(1, 400)}弄{draw.randrange(1, 90)}号{draw.randrange(101, 900)}室",
            f"{draw.choice(HAN_GIVEN)}{draw.choice(HAN_GIVEN)}{draw.choice(['小区', '花园', '大厦', '苑'])}{draw.randrange(1, 30)}栋{draw.randrange(101, 2500)}"])
        if draw.random() < 0.3:
            return fake.address().rsplit(" ", 1)[0]
        return city + district + street + house

    def han_place(self):
        fake = self.chinese
        return self.random.choice([fake.city_name(), fake.province(), fake.city(), fake.country()])

    def fill(self, template, han):
        """The text and its spans."""
        fake = self.chinese if han else self.fakers[0]
        text, spans = "", []
        for part in re.split(r"(\{[a-z]\})", template.replace("\\n", "\n").replace("\\t", "\t")):
            slot = part[1:-1] if re.fullmatch(r"\{[a-z]\}", part) else None
            kind = {"n": "NAME", "f": "NAME", "l": "NAME", "a": "ADDRESS", "p": "PLACE"}.get(slot)
            value = part if slot is None else self.value(slot, han, fake)
            if kind:
                spans.append([kind, len(text), len(text) + len(value)])
            text += value
        return text, spans

    def value(self, slot, han, fake):
        if slot in "nfl":
            return self.han(slot) if han else self.latin(slot)
        if slot == "a":
            return self.han_address() if han else self.address()
        if slot == "p":
            return self.han_place() if han else self.place()
        if slot == "o":
            return fake.company()
        if slot == "s":
            return self.random.choice(SALUTATIONS)
        if slot == "e":
            return fake.email()
        if slot == "w":
            return self.random.choice(["May", "June", "April", "March", "Monday", "Friday", "week"])
        return str(self.random.randrange(1, 10 ** self.random.randrange(1, 12)))


def templates(text):
    return [part for line in text.splitlines() for part in line.split("|") if part.strip()]


KINDS = {
    "PERSON": "NAME", "NAME": "NAME", "STREET_ADDRESS": "ADDRESS", "ADDRESS": "ADDRESS",
    "GPE": "PLACE", "LOCATION": "PLACE",
}


def refill(names, text, spans, han):
    """The same sentence about other people and places."""
    out, made, at = "", [], 0
    for kind, start, end in sorted(spans, key=lambda span: span[1]):
        if start < at:
            continue
        old = text[start:end]
        if kind == "NAME":
            single = " " not in old and not han
            new = names.han("n") if han else names.latin(names.random.choice("fl") if single else "n")
        elif kind == "ADDRESS":
            short = len(old) < 8
            new = old if short else names.han_address() if han else names.address()
        elif kind == "PLACE":
            new = names.han_place() if han else names.place()
        else:
            new = old
        out += text[at:start]
        made.append([kind, len(out), len(out) + len(new)])
        out += new
        at = end
    return out + text[at:], made


def conll(text):
    """Sentences of token and tag, joined as prose."""
    for block in re.split(r"\n\s*\n", text):
        out, spans, inside = "", [], None
        for line in block.splitlines():
            parts = line.split("\t") if "\t" in line else line.split()
            if len(parts) < 2:
                continue
            token, tag = parts[0], parts[-1]
            glue = "" if not out or re.match(r"^([.,!?;:)%]|'s|n't|'[a-z]+)", token) else " "
            start = len(out) + len(glue)
            out += glue + token
            kind = {"person": "NAME", "PER": "NAME", "location": "PLACE", "LOC": "PLACE"}.get(tag[2:])
            if out[:start].endswith("@ ") or token.startswith("@"):
                kind = None  # an account, not a name
            if kind and tag[0] == "I" and spans and inside == kind:
                spans[-1][2] = len(out)
            elif kind:
                spans.append([kind, start, len(out)])
            inside = kind
        if out:
            yield out, spans


def universal(text):
    """Sentences of number, token and tag, whose text is given before them."""
    for block in re.split(r"\n\s*\n", text):
        sentence, spans, at = "", [], 0
        for line in block.splitlines():
            if line.startswith("#"):
                sentence += line.removeprefix("# text = ") if line.startswith("# text = ") else ""
                continue
            token, tag = line.split("\t")[1:3]
            start = sentence.index(token, at)
            at = start + len(token)
            kind = {"PER": "NAME", "LOC": "PLACE"}.get(tag[2:])
            if kind and tag[0] == "I" and spans:
                spans[-1][2] = at
            elif kind:
                spans.append([kind, start, at])
        if sentence:
            yield sentence, spans


def weibo(text):
    """Posts of one character and tag a line; a digit after the character is its place in its word."""
    for block in re.split(r"\n\s*\n", text):
        out, spans = "", []
        for line in block.splitlines():
            token, _, tag = line.partition("\t")
            kind = {"PER.NAM": "NAME", "GPE.NAM": "PLACE", "LOC.NAM": "PLACE"}.get(tag[2:])
            if kind and tag[0] == "B":
                spans.append([kind, len(out), len(out)])
            out += token[:1]
            if kind and spans:
                spans[-1][2] = len(out)
        if out:
            yield out, spans


def nameless(sources, listed):
    """English sentences in which no word with a capital is in the lists of names and places."""
    outputs = "results/Mixtral-8x7B-Instruct-v0.1/model_outputs.json"
    for entry in json.loads(sources.text("tatsu-lab/alpaca_eval", outputs)):
        for text in [entry["instruction"], *re.split(r"(?<=[.!?])\s+|\n+", entry["output"])[:12]]:
            capitals = re.findall(r"\b[A-Z][A-Za-z]*", text)
            if 10 <= len(text) <= 300 and not any(listed.get(it.lower(), 0) & 7 for it in capitals):
                yield text


def tagger_rows(data_dir, sources, silver):
    names = Names(7)
    rows = []

    def add(source, text, spans, key, weight=1.0, train=True):
        rows.append({"source": source, "text": text, "spans": spans, "part": part_of(key),
                     "weight": weight, "train": train})

    sets = [("pii_presidio_v2", "template_id", 4), ("pii_presidio_large", "template_id", 4),
            ("pii_bedrock_en_gen", "template", 2), ("pii_zh_gen", "template", 3)]
    for name, key, copies in sets:
        for entry in read_set(data_dir, name):
            spans = [[KINDS[kind], start, end] for kind, start, end in entry["label"] if kind in KINDS]
            group = f"{name} {entry[key]}"
            if name.startswith("pii_presidio"):
                masked = entry["text"]
                for _, start, end in sorted(entry["label"], key=lambda span: -span[1]):
                    masked = masked[:start] + "{}" + masked[end:]
                group = masked
            add(name, entry["text"], spans, group)
            for _ in range(copies if spans else 0):
                add(f"refill {name}", *refill(names, entry["text"], spans, "zh" in name), group, 0.5)
    for source, text, han, count in [
        ("templates_en", ENGLISH, False, 60), ("templates_zh", CHINESE, True, 60),
        ("plain_en", ENGLISH_PLAIN, False, 20), ("plain_zh", CHINESE_PLAIN, True, 20),
        ("news_zh", CHINESE_NEWS, True, 60), ("plain_news_zh", CHINESE_NEWS_PLAIN, True, 20),
    ]:
        for template in templates(text):
            for _ in range(count * (3 if template.count("{n}") > 4 else 1)):
                add(source, *names.fill(template, han), template, 0.6)
    for index in range(1200):
        add("rolls_zh", *names.roll(), f"roll {index}", 0.6)
    for path in ["wnut17train.conll", "emerging.dev.conll"]:
        for text, spans in conll(sources.text("leondz/emerging_entities_17", path)):
            add("wnut17", text, spans, text)
    path = "data/weiboNER_2nd_conll.train"
    for text, spans in weibo(sources.text("hltcoe/golden-horse", path)):
        add("weibo", text, spans, text)
    for part in ("train", "dev", "test"):
        path = f"zh_gsdsimp-ud-{part}.iob2"
        for text, spans in universal(sources.text("UniversalNER/UNER_Chinese-GSDSIMP", path)):
            add("gsd", text, spans, text)
            short = [span for span in spans if span[0] == "NAME" and span[2] - span[1] <= 3]
            if short:
                add("refill gsd", *refill(names, text, short, True), text, 0.4)
    for section in "abefgh":
        for text, spans in conll(sources.text("GateNLP/broad_twitter_corpus", f"{section}.conll")):
            add("btc", text, spans, text, 0.7)
    for name in ["topic_clinc150", "pi_notinject", "harm_advbench", "overrefusal_zh_hand"]:
        for entry in read_set(data_dir, name)[:3000]:
            if re.search(r"\b(name|names|call|named)\b", entry["text"]):
                continue
            add(name, entry["text"], [], entry["text"], 0.7)
    listed = lists([])
    for text in nameless(sources, listed):
        add("alpaca_eval", text, [], text, 0.7)
    for line in open(silver, encoding="utf-8"):
        entry = json.loads(line)
        spans = [span for span in entry["spans"] if span[0] != "ORG"]
        add("silver " + entry["source"], entry["text"], spans, entry["text"])
        if any(kind == "NAME" for kind, _, _ in spans) and names.random.random() < 0.5:
            short = [span for span in spans if span[0] == "NAME" and span[2] - span[1] <= 3]
            add("refill silver", *refill(names, entry["text"], short, True), entry["text"], 0.4)
    for entry in read_set(data_dir, "pii_msra_ner_zh"):
        spans = [[KINDS.get(kind, "ORG"), start, end] for kind, start, end in entry["label"]]
        add("pii_msra_ner_zh", entry["text"], spans, entry["text"], train=False)
    return rows


def common_words(rows):
    """Words that stand in lower case within sentences, forty times or more."""
    counts = collections.Counter()
    for row in rows:
        if row["train"]:
            counts.update(re.findall(r"(?<=[a-z,] )[a-z]{2,}\b", row["text"]))
    return [word for word, count in counts.items() if count >= 40]


def lists(common):
    """Single words and what they are, as `tokens::listed` numbers it."""
    listed = {}

    def add(words, flag):
        for word in words:
            for part in re.findall(r"\w+", str(word)):
                listed[part.lower()] = listed.get(part.lower(), 0) | flag

    for locale in dict.fromkeys(LATIN):
        fake = Faker(locale)
        for provider in fake.get_providers():
            for attribute, flag in [("first_names", 1), ("first_names_male", 1), ("first_names_female", 1),
                                    ("last_names", 2), ("cities", 4), ("city_names", 4), ("states", 4),
                                    ("countries", 4)]:
                values = getattr(provider, attribute, ())
                if callable(values):
                    continue
                values = values.keys() if isinstance(values, dict) else values
                add([value for value in values if isinstance(value, str) and (flag != 4 or " " not in value)], flag)
    add(STREETS, 64)
    add(common, 8)
    for word, count, kind in dictionary():
        is_word = re.fullmatch("[\u4e00-\u9fff]{2}", word) and not kind.startswith("nr")
        if is_word and count >= 100:
            listed[word] = 128
    foreign = collections.Counter(char for name in FOREIGN_HAN for char in name)
    add({char for char, count in foreign.items() if count >= 12} | set(SYLLABLES_HAN), 8)
    for char in HAN_FAMILY + "".join(HAN_COMPOUND):
        add([char], 16)
    given = collections.Counter(char for name in PEOPLE for char in name[1:])
    add({char for char, count in given.items() if count >= 10} | set(HAN_GIVEN), 32)
    return listed
